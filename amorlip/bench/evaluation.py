"""Evaluation compared with clip_benchmark 1.6.2: same generated files, model, batches and number of processes.

clip_benchmark, a test-only dependency, runs as installed: its reader of WebDataset shards, its zero-shot classifier,
its retrieval. Only its last step, top-k accuracy, is left out, since it fails with numpy 2.4. It has no association:
the reference there is a loop over rounds with the images of one round at a time, as in DataComp's evaluation. Both
sides' results are compared before anything is measured.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from open_clip import CLIP
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from amorlip import models
from amorlip.bench import memory, report
from amorlip.bench.report import Column
from amorlip.common.errors import AmorlipError
from amorlip.common.files import write_text
from amorlip.config.benchmark import Task, TaskSource
from amorlip.evaluation import association, retrieval, score
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.images import batches
from amorlip.tasks.pack import pack
from amorlip.tasks.read import open_association
from amorlip.tasks.write import Labeled, Round, write_association, write_classification, write_retrieval

BATCH = 128
SIDE = 64
"""Side of the generated pictures [pixels], as in the demo's tasks."""
CLASSES, TEMPLATES, CAPTIONS, WORDS = 100, ["a photo of a {c}.", "a drawing of a {c}.", "{c}"], 5, 500
FEW = 12
"""Size of a set for a warm-up call: one small batch of images, and enough of them for recall@10."""
WIDTHS = {"retrieval metrics": models.embed_dim("demo"), "retrieval metrics, ViT-B-32": models.embed_dim("ViT-B-32")}
"""Width of the features in the cases that measure metrics alone: those of two models."""
TOLERANCE = 2e-3
"""Largest difference in a metric: an untrained model's output for a few images depends on the last bits."""

Measured = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Case:
    """What is measured: a set with `size` of its `unit`."""

    name: str
    size: int
    unit: str

    @property
    def title(self) -> str:
        """With size and unit."""
        return f"{self.name} ({self.size:,} {self.unit})"


@dataclass(frozen=True)
class Result:
    """One row of the table: units per second."""

    case: str
    ours_per_s: float
    peer_per_s: float
    ratio: float
    peak_mib: float
    peer_peak_mib: float


CASES = [
    Case("classification", 10_000, "images"),
    Case("retrieval", 1_000, "images with 5 captions"),
    *(Case(name, 5_000, "images with 5 captions") for name in WIDTHS),
    Case("association", 300, "rounds"),
]
HEADING = """\
Units per second of one thread's CPU time, and peak memory, of amorlip's evaluation and of clip_benchmark 1.6.2 on the
same files."""
COLUMNS = [
    Column("case", "{case}", is_number=False),
    Column("ours /s", "{ours_per_s:.1f}"),
    Column("peer /s", "{peer_per_s:.1f}"),
    Column("ratio", "{ratio:.2f}"),
    Column("peak MiB", "{peak_mib:.0f}"),
    Column("peer's peak MiB", "{peer_peak_mib:.0f}"),
]


def run(
    output_json: Path,
    output_md: Path,
    cases: list[Case] | None = None,
    rounds: int = 3,
    only: Sequence[str] | None = None,
) -> list[Result]:
    """Measure `cases` and write both files after each; results are medians over rounds, in which the sides alternate.

    By CPU time of one thread, which depends least on other load on the machine. `only`: patterns of the names of cases
    to measure.

    Raises AmorlipError at the end if cases failed, as where the two sides' results differ, naming them.
    """
    every = cases or CASES
    todo = report.selected(every, [case.name for case in every], only)
    results, failures = [], report.Failures()
    threads = torch.get_num_threads()
    try:
        for number, case in enumerate(todo, start=1):
            with failures.noted(case.title), tempfile.TemporaryDirectory() as folder:
                results.append(_measure(case, Path(folder), rounds))
                report.progress(number, len(todo), f"{case.title}: {results[-1].ratio:.2f} times the peer's speed")
            report.write(output_json, output_md, results, HEADING, COLUMNS)
    finally:
        torch.set_num_threads(threads)
    failures.report(output_json)
    return results


def _measure(case: Case, folder: Path, rounds: int) -> Result:
    WRITERS[case.name](folder, case.size)
    sides = [_prepare(case, folder, side) for side in ("ours", "peer")]
    found = [side() for side in sides]
    for key, value in found[1].items():
        if abs(found[0][key] - value) > TOLERANCE:
            raise AmorlipError(f"{key} is {found[0][key]} here and {value} in the reference")
    seconds = report.alternating_medians([partial(_seconds, side) for side in sides], rounds)
    peaks = [memory.peak_mib(_warm, case, folder, side) for side in ("ours", "peer")]
    rates = [case.size / value for value in seconds]
    values = (*rates, rates[0] / rates[1], *peaks)
    return Result(case.title, *(round(value, 4) for value in values))


def _prepare(case: Case, folder: Path, side: str) -> Measured:
    torch.set_num_threads(1)  # set here: a process that measures memory starts with PyTorch's default
    return SIDES[case.name, side](folder)


def _warm(case: Case, folder: Path, side: str) -> Measured:
    """What `_prepare` returns, after a warm-up call on a few samples."""
    with tempfile.TemporaryDirectory() as small:
        WRITERS[case.name](Path(small), FEW)
        _prepare(case, Path(small), side)()
    return _prepare(case, folder, side)


def _seconds(side: Measured) -> float:
    start = time.process_time()
    side()
    return time.process_time() - start


def _model() -> tuple[CLIP, models.EvalTransform, models.Tokenizer]:
    model = cast(CLIP, models.create("demo", seed=0).eval())
    return model, models.eval_transform(model), models.tokenizer("demo")


# ---------------------------------------------------------------- generated sets


def pictures(count: int) -> Iterator[bytes]:
    """PNG files of smooth noise, about as large as drawings."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
        yield file.getvalue()


def _write_classification(folder: Path, size: int) -> None:
    classes = min(CLASSES, size)
    samples = (Labeled(image, "png", number % classes) for number, image in enumerate(pictures(size)))
    write_classification(folder, [f"thing {number}" for number in range(classes)], TEMPLATES, samples)


def _write_retrieval(folder: Path, size: int) -> None:
    images = {f"{number}.png": image for number, image in enumerate(pictures(size))}
    captions = {name: [f"caption {number} of {name}" for number in range(CAPTIONS)] for name in images}
    write_retrieval(folder, "bench", images, captions)
    pack(folder, folder)
    write_text(folder / "dataset_type.txt", "retrieval")


def _write_association(folder: Path, size: int) -> None:
    generator = np.random.default_rng(0)
    words = min(WORDS, 4 * size)
    images = {f"word{number}": image for number, image in enumerate(pictures(words))}
    rounds = []
    for number in range(size):
        shown = [f"word{index}" for index in generator.choice(words, (5, 6, 10, 12)[number % 4], replace=False)]
        rounds.append(Round(f"cue {number}", shown, shown[:3]))
    write_association(folder, rounds, images)
    pack(folder, folder)


def _write_features(width: int, folder: Path, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, width, generator=generator)
    noise = torch.randn(size * CAPTIONS, width, generator=generator)
    texts = images.repeat_interleave(CAPTIONS, dim=0) + 5 * noise
    torch.save((normalize(images, dim=1), normalize(texts, dim=1)), folder / "features.pt")


# ---------------------------------------------------------------- our side


def _ours(kind: str, metric: str, folder: Path) -> Measured:
    source = TaskSource(kind="folder", path=str(folder))
    task = Task.model_validate({"title": kind, "kind": kind, "main_metric": metric, "source": source})
    encoder = Encoder(*_model(), torch.device("cpu"), "float32", batch_size=BATCH, workers=0)
    return lambda: score.evaluate(encoder, task, folder).metrics


def _our_metrics(folder: Path) -> Measured:
    images, texts, image_of = _features(folder)
    return lambda: retrieval.metrics(
        *(ranks.numpy() for ranks in retrieval.ranks_in_both_directions(texts, images, image_of))
    )


def _features(folder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images, texts = torch.load(folder / "features.pt", weights_only=True)
    return images, texts, torch.arange(len(texts)) // CAPTIONS


# ---------------------------------------------------------------- the peer's side


def _peer_loader(folder: Path, transform: models.EvalTransform) -> Callable[[], Any]:
    """A function that opens the set; its modules are imported here, not when it is called."""
    from clip_benchmark.datasets.builder import build_wds_dataset, image_captions_collate_fn

    captions = (folder / "dataset_type.txt").exists()
    collate = {"collation_fn": image_captions_collate_fn} if captions else {}

    def open_set() -> Any:
        data = build_wds_dataset("bench", transform, data_dir=str(folder))
        loader: Any = DataLoader(data.batched(BATCH, **collate), batch_size=None, num_workers=0)
        # where clip_benchmark's command line puts them
        loader.classes, loader.templates = data.classes, data.templates
        return loader

    return open_set


def _peer_classification(folder: Path) -> Measured:
    from clip_benchmark.metrics import zeroshot_classification as peer

    model, transform, tokenizer = _model()
    open_set = _peer_loader(folder, transform)

    def measure() -> dict[str, float]:
        with redirect_stderr(io.StringIO()):  # its progress bars
            loader = open_set()
            classifier = peer.zero_shot_classifier(model, tokenizer, loader.classes, loader.templates, "cpu", amp=False)
            scores, labels = peer.run_classification(model, classifier, loader, "cpu", amp=False)
        return {
            "acc1": (scores.argmax(dim=1) == labels).float().mean().item(),
            "mean_per_class_recall": peer.balanced_accuracy_score(labels, scores.argmax(dim=1)),
        }

    return measure


def _peer_retrieval(folder: Path) -> Measured:
    from clip_benchmark.metrics import zeroshot_retrieval as peer

    model, transform, tokenizer = _model()
    open_set = _peer_loader(folder, transform)

    def measure() -> dict[str, float]:
        with redirect_stderr(io.StringIO()):
            return peer.evaluate(model, open_set(), tokenizer, "cpu", amp=False, recall_k_list=list(retrieval.RECALLS))

    return measure


def _peer_metrics(folder: Path) -> Measured:
    from clip_benchmark.metrics import zeroshot_retrieval as peer

    images, texts, image_of = _features(folder)

    class Given(torch.nn.Module):
        """Returns given features as if it had computed them."""

        def encode_image(self, rows: torch.Tensor) -> torch.Tensor:
            return images[rows]

        def encode_text(self, rows: torch.Tensor) -> torch.Tensor:
            return texts[rows]

    def rows() -> Iterator[tuple[torch.Tensor, list[list[int]]]]:
        for chosen in torch.arange(len(images)).split(64):  # clip_benchmark's usual batch
            yield chosen, [list(range(CAPTIONS * row, CAPTIONS * row + CAPTIONS)) for row in chosen.tolist()]

    def measure() -> dict[str, float]:
        with redirect_stderr(io.StringIO()):
            return peer.evaluate(Given(), rows(), torch.tensor, "cpu", amp=False, recall_k_list=[*retrieval.RECALLS])

    return measure


def _peer_association(folder: Path) -> Measured:
    return partial(_play_by_rounds, folder, *_model())


@torch.no_grad()
def _play_by_rounds(
    folder: Path, model: CLIP, transform: models.EvalTransform, tokenizer: models.Tokenizer
) -> dict[str, float]:
    data = open_association(folder)
    images = torch.cat([b.images for b in batches(data.images.records, transform.picture, batch_size=BATCH, workers=0)])
    scores, sizes = [], []
    for play in data.rounds:
        shown = torch.stack([transform(Image.fromarray(images[index].numpy())) for index in play.candidates])
        features = normalize(model.encode_image(shown), dim=1)
        cue = normalize(model.encode_text(tokenizer([association.prompt(play.cue)])), dim=1)[0]
        chosen = association.choose((features @ cue).numpy(), np.array(play.associated))
        scores.append(association.jaccard(play.associated, chosen))
        sizes.append(len(play.candidates))
    return association.metrics(np.array(scores), np.array(sizes))


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "classification": _write_classification,
    "retrieval": _write_retrieval,
    "association": _write_association,
    **{name: partial(_write_features, width) for name, width in WIDTHS.items()},
}
SIDES: dict[tuple[str, str], Callable[[Path], Measured]] = {
    ("classification", "ours"): partial(_ours, "classification", "acc1"),
    ("classification", "peer"): _peer_classification,
    ("retrieval", "ours"): partial(_ours, "retrieval", "mean_recall@1"),
    ("retrieval", "peer"): _peer_retrieval,
    **{(name, "ours"): _our_metrics for name in WIDTHS},
    **{(name, "peer"): _peer_metrics for name in WIDTHS},
    ("association", "ours"): partial(_ours, "association", "jaccard_score"),
    ("association", "peer"): _peer_association,
}
