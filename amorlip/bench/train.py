"""Training steps: images per second, time by part, memory and utilization, for each method.

On a GPU at both paper settings, with AmorLIP's extra time over CLIP; on a CPU at the demo's, compared with a plain
eager loop on the same shards. Recipes are those of `config/`. Every case runs in a new process, so that none is
affected by the memory, compiled code or settings of another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from amorlip.bench import eager, peer, processes, report, steps
from amorlip.bench.report import Column
from amorlip.common import devices
from amorlip.common.errors import AmorlipError
from amorlip.common.files import write_json, write_text
from amorlip.config.objectives import OBJECTIVES
from amorlip.config.run import Run
from amorlip.corpus.records import MANIFEST
from amorlip.study import load_study
from amorlip.training import distributed, towers

ROOT = Path(__file__).parents[2]
T_ONLINE = (1, 8, 32)
"""AmorLIP's steps between fits for which the paper gives the extra time."""
AMORLIP = "amorlip_l2log"


@dataclass(frozen=True)
class Case:
    """A run whose steps are measured; `shards` None: on synthetic pairs."""

    run: Run
    shards: Path | None
    steps: int
    """Steps of a round, a multiple of T_online."""
    rounds: int = 3

    @property
    def t_online(self) -> int | None:
        """Steps between AmorLIP's fits; None for other methods."""
        return self.run.settings.get("t_online")

    @property
    def name(self) -> str:
        """Scale, method and T_online."""
        fits = "" if self.t_online is None else f", T_online {self.t_online}"
        return f"{self.run.scale}/{self.run.method}{fits}"


@dataclass(frozen=True)
class Result:
    """One row of the first table. Times of a step and its parts in ms; memory of tensors (GPU) or process (CPU)."""

    case: str
    device: str
    model: str
    batch: int
    data: str
    compiled: bool
    images_per_s: float
    step_ms: float
    data_ms: float
    forward_ms: float
    objective_ms: float
    backward_ms: float
    optimizer_ms: float
    host_ms: float
    """Until Python has started a step's work."""
    peak_mib: float
    reserved_mib: float
    """GPU memory that PyTorch's allocator held at most."""
    text_positions: float
    """Positions of a text that are computed, on average."""
    gflop_per_pair: float
    utilization: float | None
    """Model FLOP per second over the chip's bfloat16 peak; None on a CPU."""
    over_clip_ms: float | None
    """Extra time over CLIP's step at the same scale."""
    over_clip: float | None
    """The same as a fraction of CLIP's step."""


@dataclass(frozen=True)
class Comparison:
    """Pairs per second of a run, and of the plain loop with the same model, batch and shards."""

    case: str
    ours_per_s: float
    eager_per_s: float
    ratio: float


HEADING = """\
Whole training steps. A part's time is that of its work on the device; the backward pass includes the objective's and
the encoders'. Utilization: FLOP of the encoders' matrix multiplications (forward and backward pass, counted on the
eager model) per second, over the chip's bfloat16 peak. Threads are the recipe's `threads_per_rank`, not those of the
next line."""
COLUMNS = [
    Column("case", "{case}", is_number=False),
    Column("device", "{device}", is_number=False),
    Column("model", "{model}", is_number=False),
    Column("batch", "{batch}"),
    Column("data", "{data}", is_number=False),
    Column("images/s", "{images_per_s:.0f}"),
    Column("step ms", "{step_ms:.1f}"),
    *(Column(part, f"{{{part}_ms:.1f}}") for part in steps.PARTS),
    Column("host ms", "{host_ms:.1f}"),
    Column("peak MiB", "{peak_mib:.0f}"),
    Column("reserved MiB", "{reserved_mib:.0f}"),
    Column("text positions", "{text_positions:.1f}"),
    Column("utilization", "{utilization}"),
    Column("over CLIP ms", "{over_clip_ms}"),
    Column("over CLIP", "{over_clip}"),
]
COMPARISON_HEADING = """\
Pairs per second compared with a plain eager loop: OpenCLIP's model and ClipLoss, PyTorch's AdamW, a WebDataset pipeline
with OpenCLIP's transform; the same shards, threads and workers, measured alternately."""
COMPARISON_COLUMNS = [
    Column("case", "{case}", is_number=False),
    Column("ours", "{ours_per_s:.0f}"),
    Column("eager loop", "{eager_per_s:.0f}"),
    Column("ratio", "{ratio:.2f}"),
]


# ---------------------------------------------------------------- what is measured


def gpu_cases() -> list[Case]:
    """Every method at both paper settings, then AmorLIP with each of `T_ONLINE` that its recipe does not have."""
    runs = runs_of(["medium", "large"])
    extra = [
        run.model_copy(update={"settings": {**run.settings, "t_online": t_online}})
        for run in runs
        if run.method == AMORLIP
        for t_online in T_ONLINE
        if t_online != run.settings["t_online"]
    ]
    return [Case(run, _shards(run), steps=max(T_ONLINE)) for run in runs + extra]


def cpu_cases() -> list[Case]:
    """Every method at the demo's setting, on its corpus. Raises AmorlipError if the corpus is missing."""
    return [Case(run, _demo_shards(run), steps=10) for run in runs_of(["demo"])]


def tiny_cases() -> list[Case]:
    """The cases for GPUs with a small model and batch, to try everything on a CPU."""
    return [Case(tiny(case.run), None, case.steps, rounds=1) for case in gpu_cases()]


def tiny(run: Run) -> Run:
    """The run with the demo's model and 16 pairs."""
    recipe = run.recipe.model_copy(update={"model": "demo", "batch_size": 16, "threads_per_rank": 1})
    settings = {**run.settings, "prototypes": 8} if "prototypes" in run.settings else run.settings
    return run.model_copy(update={"recipe": recipe, "settings": settings})


def runs_of(scales: list[str]) -> list[Run]:
    """Every method at each of the scales in `config/`, CLIP first."""
    methods = sorted(OBJECTIVES, key=lambda name: name != "clip")
    selection = {"name": "bench_train", "scales": scales, "methods": methods, "seeds": [0], "experiments": ["table1"]}
    study = load_study({**selection, "benchmark": "demo" if scales == ["demo"] else "datacomp38"}, ROOT / "config")
    return [run for _, run in study.runs]


def _shards(run: Run) -> Path | None:
    folder = ROOT / "results/corpora" / run.recipe.corpus / "train"
    return folder if (folder / MANIFEST).exists() else None


def _demo_shards(run: Run) -> Path:
    shards = _shards(run)
    if shards is None:
        target = f"results/corpora/{run.recipe.corpus}/train/{MANIFEST}"
        raise AmorlipError(f"the demo's corpus is missing; make it with: snakemake {target}")
    return shards


# ---------------------------------------------------------------- measuring


def run(
    output_json: Path,
    output_md: Path,
    *,
    tiny: bool = False,
    cases: list[Case] | None = None,
    compare_rounds: int = 9,
    only: Sequence[str] | None = None,
    checkout: Path | None = None,
) -> list[Result | Comparison | dict[str, Any]]:
    """Measure, and write both files after each case.

    `cases`: by default those for this machine, or with `tiny` those for a GPU at a small size. The comparison with the
    plain loop is made on a CPU and on shards only: `compare_rounds` alternating rounds, 0 for none. `only`: patterns of
    the names of cases to measure. `checkout`: of the AmorLIP authors' release, to compare with the cases that it has.

    Raises AmorlipError at the end if cases failed, naming them; at once if `checkout` is no such checkout.
    """
    on_gpu = devices.best().type == "cuda"
    every = cases or (tiny_cases() if tiny else gpu_cases() if on_gpu else cpu_cases())
    todo = report.selected(every, [case.name for case in every], only)
    plain = [case for case in todo if case.shards and not on_gpu and case.run.method in ("clip", AMORLIP)]
    results: list[Result] = []
    comparisons: list[Comparison] = []
    released: list[dict[str, Any]] = []
    failures = report.Failures()
    release = checkout and peer.checked(checkout, [case.run for case in todo])

    def write() -> None:
        write_json(output_json, [*(asdict(result) for result in [*results, *comparisons]), *released])
        write_text(output_md, _markdown(results, comparisons, released))

    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(todo, start=1):
            with failures.noted(case.name):
                results.append(_measure(case, Path(scratch), results))
                report.progress(number, len(todo), f"{case.name}: {results[-1].images_per_s:.0f} images/s")
            write()
            if release and peer.has(case.run):
                with failures.noted(f"{case.name} compared with the release"):
                    released.append(_compare_with_release(case, Path(scratch), release))
                    report.progress(number, len(todo), f"{case.name}: {released[-1]['ratio']:.2f} × the release")
                write()
        for number, case in enumerate(plain if compare_rounds else [], start=1):
            with failures.noted(f"{case.name} compared with a plain loop"):
                comparisons.append(_compare(case, Path(scratch), compare_rounds))
                report.progress(number, len(plain), f"{case.name}: {comparisons[-1].ratio:.2f} × a plain loop")
            write()
    failures.report(output_json)
    return [*results, *comparisons, *released]


def _markdown(results: list[Result], comparisons: list[Comparison], released: list[dict[str, Any]]) -> str:
    rows = [{**asdict(r), **{key: _shown(key, getattr(r, key)) for key in RATIOS}} for r in results]
    text = report.markdown(f"{HEADING}\n{report.machine()}", COLUMNS, rows)
    if comparisons:
        table = report.markdown(COMPARISON_HEADING, COMPARISON_COLUMNS, [asdict(c) for c in comparisons])
        text = f"{text}\n{table}"
    return text + peer.markdown(released)


RATIOS = {"utilization": "{:.1%}", "over_clip_ms": "{:.1f}", "over_clip": "{:.1%}"}
"""Fields that some cases lack, and their formats."""


def _shown(key: str, value: float | None) -> str:
    return "" if value is None else RATIOS[key].format(value)


def _measure(case: Case, scratch: Path, before: list[Result]) -> Result:
    """`before`: results so far, including CLIP's at this scale."""
    recipe = case.run.recipe
    timing = timing_of(case, scratch)
    clip = next((r.step_ms for r in before if r.case == f"{case.run.scale}/clip"), None)
    images_per_s = recipe.batch_size * 1000 / timing.step_ms
    flop = _flop_per_pair(recipe.model, round(timing.text_positions))
    peak = steps.peak_flop_per_s(timing.device)
    return Result(
        case=case.name,
        device=timing.device,
        model=recipe.model,
        batch=recipe.batch_size,
        data="shards" if case.shards else "synthetic",
        compiled=towers.wants_compilation(recipe.compile, torch.device("cpu" if timing.device == "cpu" else "cuda")),
        images_per_s=round(images_per_s, 1),
        step_ms=round(timing.step_ms, 3),
        **{f"{part}_ms": round(ms, 3) for part, ms in timing.parts_ms.items()},
        host_ms=round(timing.host_ms, 3),
        peak_mib=round(timing.peak_mib),
        reserved_mib=round(timing.reserved_mib),
        text_positions=round(timing.text_positions, 1),
        gflop_per_pair=round(flop / 1e9, 3),
        utilization=None if peak is None else round(flop * images_per_s / peak, 4),
        over_clip_ms=None if clip is None else round(timing.step_ms - clip, 3),
        over_clip=None if clip is None else round(timing.step_ms / clip - 1, 4),
    )


def timing_of(case: Case, scratch: Path) -> steps.Timing:
    """Measure the steps of `case` in a new process; `scratch` keeps what is compiled, for the next one."""
    with processes.started(_measure_there, case, scratch) as pipe:
        return processes.receive(pipe, case.name)


def _compare(case: Case, scratch: Path, rounds: int) -> Comparison:
    """Each loop is set up in its own process, and then they train alternately."""
    with processes.started(_serve_ours, case, scratch) as ours, processes.started(_serve_eager, case, scratch) as plain:

        def seconds(pipe: Connection, count: int) -> float:
            pipe.send(count)
            return processes.receive(pipe, case.name)

        for pipe in (ours, plain):
            seconds(pipe, steps.WARM_UP)
        ours_s, eager_s = report.alternating_medians(
            [partial(seconds, pipe, case.steps) for pipe in (ours, plain)], rounds
        )
        for pipe in (ours, plain):
            pipe.send(0)
    pairs = case.steps * case.run.recipe.batch_size
    speeds = pairs / ours_s, pairs / eager_s, eager_s / ours_s
    return Comparison(f"{case.name} compared with a plain loop", *(round(speed, 3) for speed in speeds))


def _compare_with_release(case: Case, scratch: Path, release: Path) -> dict[str, Any]:
    """Both on random pairs, ours before and after the release."""
    synthetic = replace(case, shards=None)
    ours = partial(timing_of, synthetic, scratch)
    record, timing = peer.compare(release, case.run, case.steps, case.rounds, ours(), ours)
    name = f"{case.name} compared with the release"
    return {"case": name, "device": timing.device, "batch": case.run.recipe.batch_size, **record.model_dump()}


_flop_per_pair = cache(steps.flop_per_pair)


# ---------------------------------------------------------------- in a process of its own


def _measure_there(case: Case, scratch: Path, pipe: Connection) -> None:
    pipe.send(steps.measure(case.run, scratch / "compiled", case.shards, case.steps, case.rounds))


def _serve_ours(case: Case, scratch: Path, pipe: Connection) -> None:
    towers.compile_into(scratch / "compiled")
    recipe = case.run.recipe
    with distributed.join(recipe.ranks, recipe.threads_per_rank, recipe.precision) as world:
        steps.serve(steps.open_stepper(case.run, world, case.shards).train, pipe)


def _serve_eager(case: Case, _scratch: Path, pipe: Connection) -> None:
    assert case.shards is not None  # only cases on shards are compared
    steps.serve(eager.loop(case.run, case.shards), pipe)
