"""Images per second and core of the training loader, compared with OpenCLIP's transform and a WebDataset pipeline.

Each runs in this process with one thread and reads the same shards; the training loader and the pipeline also with a
process that hands its batches over to this one. Seconds are CPU time, not wall-clock time: other load on the machine
matters little, and the result is for one core.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import webdataset
from open_clip import get_model_preprocess_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose

from amorlip import models
from amorlip.bench import pictures, report
from amorlip.bench.hand_over import HandedOver
from amorlip.bench.report import Column
from amorlip.config.recipe import Augmentation
from amorlip.corpus.manifest import read_manifest
from amorlip.loader.augment import train_transform
from amorlip.loader.index import read_index
from amorlip.loader.loader import PairLoader

BATCH = 32
TIME_LIMIT_S = 25
"""After which no new round of a case begins; three are measured at least."""
Batches = Generator[Any, None, None]
SPARE_EPOCHS = 6
"""Of the loader with a process: its start, the first measurement, and what it prepares of a small split in advance."""


@dataclass(frozen=True)
class Case:
    """Pictures of one kind, and the model and smallest crop they are read for."""

    name: str
    picture: Callable[[int], bytes]
    """Seed → an encoded image."""
    ending: str
    model: str
    crop_scale_min: float
    pairs: int = 128


@dataclass(frozen=True)
class Result:
    """One row of the table: images per second and core. `ratio` is ours to OpenCLIP's pipeline."""

    case: str
    size: int
    bytes: int
    ours_per_core: float
    openclip_per_core: float
    ratio: float
    openclip_transform_per_core: float
    transform_ratio: float
    ours_handed_over_per_core: float
    openclip_handed_over_per_core: float
    handed_over_ratio: float
    """Of ours to OpenCLIP's pipeline, each with a process that hands batches over."""


HEADING = """\
Images per second and core, from shards to batches: the training loader in an epoch after the first (captions are
tokenized once), OpenCLIP's transform and tokenizer in a WebDataset pipeline, and OpenCLIP's transform alone, on images
in memory. Medians of alternating rounds, by CPU time of one process with one thread. Handed over: one loader process
hands the batches to the training process, and the CPU time is that of both."""
COLUMNS = [
    Column("pictures", "{case}", is_number=False),
    Column("bytes each", "{bytes}"),
    Column("to pixels", "{size}"),
    Column("ours", "{ours_per_core:.0f}"),
    Column("OpenCLIP's pipeline", "{openclip_per_core:.0f}"),
    Column("ratio", "{ratio:.2f}"),
    Column("OpenCLIP's transform alone", "{openclip_transform_per_core:.0f}"),
    Column("ratio to it", "{transform_ratio:.2f}"),
    Column("ours, handed over", "{ours_handed_over_per_core:.0f}"),
    Column("OpenCLIP's pipeline, handed over", "{openclip_handed_over_per_core:.0f}"),
    Column("ratio, handed over", "{handed_over_ratio:.2f}"),
]
CASES = [
    Case("JPEG, 500 x 375", partial(pictures.photograph, 500, 375), "jpg", "RN50", 0.9),
    Case(
        "JPEG, 341 x 256, as the paper's corpora are stored",
        partial(pictures.photograph, 341, 256),
        "jpg",
        "RN50",
        0.9,
    ),
    Case("PNG, 64 x 64, as the demo's", partial(pictures.drawing, 64), "png", "demo", 0.8, pairs=1024),
]


def run(
    output_json: Path,
    output_md: Path,
    cases: list[Case] | None = None,
    rounds: int = 9,
    only: Sequence[str] | None = None,
) -> list[Result]:
    """Measure `cases` in `rounds` rounds each; write both files after each. `only`: patterns of names to measure.

    Raises AmorlipError at the end if cases failed, naming them.
    """
    every = cases or CASES
    todo = report.selected(every, [case.name for case in every], only)
    results, failures = [], report.Failures()
    with one_thread():
        for number, case in enumerate(todo, start=1):
            with failures.noted(case.name):
                results.append(_measure(case, rounds))
                report.progress(number, len(todo), f"{case.name}: {results[-1].ratio:.2f} of OpenCLIP's pipeline")
            report.write(output_json, output_md, results, HEADING, COLUMNS)
    failures.report(output_json)
    return results


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread, as in a loader's worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _measure(case: Case, rounds: int) -> Result:
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(io.StringIO()), ExitStack() as opened:
        folder = Path(scratch) / "train"
        size = pictures.write_split(folder, case.picture, case.ending, case.pairs)
        count = case.pairs // BATCH
        model, tokenizer = models.create(case.model, seed=0), models.tokenizer(case.model)
        config = PreprocessCfg(**get_model_preprocess_cfg(model))
        crop = {"scale": (case.crop_scale_min, 1.0)}
        transform = cast(Compose, image_transform_v2(config, is_train=True, aug_cfg=crop))
        encoded = list(_images(folder))[: count * BATCH]
        our_batches = ours(case, model, folder, epochs=rounds + 1)
        handed = [
            opened.enter_context(HandedOver(batches))
            for batches in (
                ours(case, model, folder, epochs=rounds + SPARE_EPOCHS, workers=1),
                endless_open_clips(folder, transform, tokenizer),
            )
        ]
        measures = [
            partial(_seconds, lambda: [next(our_batches) for _ in range(count)]),
            partial(_seconds, lambda: list(open_clips(folder, transform, tokenizer))),
            partial(_seconds, lambda: [transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in encoded]),
            *(partial(loader.seconds, count) for loader in handed),
        ]
        for measure in measures:
            measure()
        seconds = report.alternating_medians(measures, rounds, TIME_LIMIT_S)
    side = config.size if isinstance(config.size, int) else config.size[0]
    return _result(case.name, side, size, count * BATCH, *seconds)


def _result(
    name: str, side: int, size: int, images: int, ours_s: float, pipeline_s: float, transform_s: float, *handed: float
) -> Result:
    """From seconds for `images` images; `handed`: ours and the pipeline's."""
    ours_handed_s, pipeline_handed_s = handed
    speeds = (
        images / ours_s, images / pipeline_s, pipeline_s / ours_s,
        images / transform_s, transform_s / ours_s,
        images / ours_handed_s, images / pipeline_handed_s, pipeline_handed_s / ours_handed_s,
    )  # fmt: skip
    return Result(name, side, size, *(round(speed, 3) for speed in speeds))


def ours(case: Case, model: torch.nn.Module, folder: Path, epochs: int, workers: int = 0) -> Batches:
    """Batches of the training loader."""
    loader = PairLoader(
        folder,
        batch_size=BATCH,
        epochs=epochs,
        seed=0,
        transform=train_transform(models.image_size(model), Augmentation(crop_scale_min=case.crop_scale_min)),
        tokenizer=models.tokenizer(case.model),
        workers=workers,
    )
    yield from loader.batches()


def open_clips(folder: Path, transform: Callable, tokenizer: Callable) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of batches from WebDataset, in the shard's order: decode with Pillow, transform, tokenize, batch."""
    return iter(_pipeline(webdataset.SimpleShardList(_shards(folder)), transform, tokenizer))


def endless_open_clips(folder: Path, transform: Callable, tokenizer: Callable) -> Batches:
    """The same again and again, from WebDataset's loader with one process."""
    pipeline = _pipeline(webdataset.ResampledShards(_shards(folder)), transform, tokenizer)
    yield from webdataset.WebLoader(pipeline, batch_size=None, num_workers=1, multiprocessing_context="fork")


def _shards(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.tar"))]


def _pipeline(shards: Any, transform: Callable, tokenizer: Callable) -> webdataset.DataPipeline:
    return webdataset.DataPipeline(
        shards,
        webdataset.tarfile_to_samples(),
        webdataset.decode("pilrgb"),
        webdataset.to_tuple("jpg;png", "txt"),
        webdataset.map_tuple(transform, lambda text: tokenizer([text])[0]),
        webdataset.batched(BATCH, partial=False),
    )


def _images(folder: Path) -> Iterator[bytes]:
    shard = (folder / "00000.tar").read_bytes()
    for row in read_index(folder, read_manifest(folder)):
        yield shard[row["image_offset"] : row["image_offset"] + row["image_bytes"]]


def _seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start
