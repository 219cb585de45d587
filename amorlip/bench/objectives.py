"""Time and peak memory of one objective's step on given features, and of OpenCLIP's ClipLoss in the same run.

A step is forward and backward on a rank's features, with stage I where it is due: the time for `t_online` = 8 is the
mean over 8 steps. The steps are of the second epoch, in which the previous epoch's networks are used.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from open_clip.loss import ClipLoss
from torch.nn.functional import normalize

from amorlip.bench import memory, report
from amorlip.bench.report import Column
from amorlip.common import devices, malloc
from amorlip.config.objectives import OBJECTIVES
from amorlip.objectives import registry
from amorlip.objectives.base import Context, Features

MIB = 2**20
TIME_LIMIT_S = 30.0
"""No new round of a case begins after this time; each has at least three."""
REFERENCE = "cliploss"


@dataclass(frozen=True)
class Case:
    """A method at one size; `t_online` 0 is a step without stage I, also for methods without stages."""

    method: str
    batch: int
    dim: int
    f_d: float
    t_online: int = 0

    @property
    def name(self) -> str:
        """Method, batch and width, and T_online where it is not 0."""
        fits = f", T_online {self.t_online}" if self.t_online else ""
        return f"{self.method}/{self.batch}x{self.dim}{fits}"


@dataclass(frozen=True)
class Result:
    """One row of the table; reference and method were measured alternately."""

    method: str
    batch: int
    dim: int
    t_online: int
    device: str
    ms: float
    cliploss_ms: float
    ratio: float
    peak_mib: float
    cliploss_peak_mib: float


HEADING = """\
Time and peak memory of one step, and the ratio to OpenCLIP's ClipLoss, forward and backward, on the same features in
the same run."""
COLUMNS = [
    Column("method", "{method}", is_number=False),
    Column("batch", "{batch}"),
    Column("dim", "{dim}"),
    Column("T_online (0: never)", "{t_online}"),
    Column("device", "{device}", is_number=False),
    Column("ms", "{ms:.1f}"),
    Column("ClipLoss ms", "{cliploss_ms:.1f}"),
    Column("ratio", "{ratio:.2f}"),
    Column("peak MiB", "{peak_mib:.0f}"),
    Column("ClipLoss peak MiB", "{cliploss_peak_mib:.0f}"),
]
SIZES = [(1024, 1024, 0.5), (2048, 512, 1.0), (8192, 512, 1.0)]
"""Batch, width and f_d of the paper's two scales, and a batch whose similarities fill 256 MiB."""
AMORLIP = ("amorlip_l2log", "amorlip_fdiv")


def all_cases() -> list[Case]:
    """Every method at every size, AmorLIP with T_online 1, 8 and never."""
    return [
        Case(method, *size, t_online)
        for size in SIZES
        for method in OBJECTIVES
        for t_online in ((1, 8, 0) if method in AMORLIP else (0,))
    ]


def run(
    output_json: Path,
    output_md: Path,
    cases: list[Case] | None = None,
    rounds: int = 7,
    only: Sequence[str] | None = None,
) -> list[Result]:
    """Measure `cases` on the CPU and, where there is one, on the GPU; write both files after each.

    Each of up to `rounds` rounds times the reference and then the method; results are medians over rounds. Freed memory
    is kept, as in training. `only`: patterns of the names of cases to measure.

    Raises AmorlipError at the end if cases failed, naming them.
    """
    malloc.keep_freed()
    every = cases or all_cases()
    chosen = report.selected(every, [case.name for case in every], only)
    devices.set_float32_precision("bfloat16")  # as in the recipes of the paper's scales
    places = ["cpu", *(["cuda"] if devices.best().type == "cuda" else [])]
    todo = [(case, device) for device in places for case in chosen]
    results, failures = [], report.Failures()
    for number, (case, device) in enumerate(todo, start=1):
        with failures.noted(f"{case.name} on {device}"):
            results.append(_measure(case, device, rounds))
            report.progress(number, len(todo), f"{device} {case.name}: {results[-1].ratio:.2f} of ClipLoss")
        report.write(output_json, output_md, results, HEADING, COLUMNS)
    failures.report(output_json)
    return results


def _measure(case: Case, device: str, rounds: int) -> Result:
    steps, plain = max(1, case.t_online), Case(REFERENCE, case.batch, case.dim, f_d=1.0)
    todo = ((plain, 1), (case, steps))
    measures = [partial(_seconds, step_of(one, device), count, device) for one, count in todo]
    for measure in measures:
        measure()
    cliploss_ms, ms = (1000 * seconds for seconds in report.alternating_medians(measures, rounds, TIME_LIMIT_S))
    del measure, measures  # their features and networks must not count in the memory below
    peaks = [_peak_mib(one, device) for one in (case, plain)]
    values = (ms, cliploss_ms, ms / cliploss_ms, *peaks)
    return Result(case.method, case.batch, case.dim, case.t_online, device, *(round(value, 4) for value in values))


def step_of(case: Case, device: str) -> Callable[[], None]:
    """A function that runs the next step of `case` on fixed features: loss and gradients."""
    features = _features(case, device)
    if case.method == REFERENCE:
        loss = ClipLoss()
        return lambda: loss(features.image_features, features.text_features, features.logit_scale).backward()
    never = 10**9
    settings = {"t_online": case.t_online or never, "f_d": case.f_d} if case.method in AMORLIP else {}
    context = Context(case.dim, case.batch, case.batch, epochs=2, steps_per_epoch=never, seed=0, device=device)
    objective = registry.create(case.method, settings, context)
    # the second epoch, in which β > 0 and the previous networks are evaluated
    objective.start_epoch(0)
    objective.start_epoch(1)
    features.step = never + (0 if case.t_online else 1)

    def step() -> None:
        objective(features).loss.backward()
        features.step += 1

    return step


def _features(case: Case, device: str) -> Features:
    generator = torch.Generator().manual_seed(0)
    image, text = (normalize(torch.randn(case.batch, case.dim, generator=generator), dim=1) for _ in range(2))
    leaves = (image, text, torch.tensor(14.3), torch.tensor(-10.0))
    image, text, scale, bias = (tensor.to(device).requires_grad_() for tensor in leaves)
    return Features(image, text, scale, bias, torch.arange(case.batch, device=device), step=0, epoch=1)


def _seconds(step: Callable[[], None], steps: int, device: str) -> float:
    """Mean over `steps` calls."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - start) / steps


@cache
def _peak_mib(case: Case, device: str) -> float:
    """Peak memory of a step beyond that of the features and the objective's state."""
    if device == "cuda":
        return _peak_on_gpu(case)
    return memory.peak_mib(_warm_step, case)


def _peak_on_gpu(case: Case) -> float:
    small = step_of(replace(case, batch=64), "cuda")
    step = step_of(case, "cuda")
    small()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def _warm_step(case: Case) -> Callable[[], None]:
    step_of(replace(case, batch=64), "cpu")()
    return step_of(case, "cpu")
