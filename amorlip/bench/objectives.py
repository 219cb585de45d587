"""Time and peak memory of one objective's step on given features, beside OpenCLIP's ClipLoss in the same run.

A step is forward and backward on a rank's features, stage I included where it is due: the figure of `t_online` = 8 is
the mean over 8 steps. Steps are those of a later epoch, in which the networks of the epoch before take part.
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from open_clip.loss import ClipLoss
from torch.nn.functional import normalize

from amorlip.errors import AmorlipError
from amorlip.files import write_json, write_text
from amorlip.objectives import registry
from amorlip.objectives.base import Context, Features

MIB = 2**20
PATIENCE_S = 30.0
"""After this time a case gets no further rounds, but at least three."""
REFERENCE = "cliploss"


@dataclass(frozen=True)
class Case:
    """A method at one size; `t_online` 0 is a step without stage I, for methods without stages too."""

    method: str
    batch: int
    dim: int
    f_d: float
    t_online: int = 0


@dataclass(frozen=True)
class Result:
    """One line of the table; the reference was measured in turn with the method."""

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


SIZES = [(1024, 1024, 0.5), (2048, 512, 1.0), (8192, 512, 1.0)]
"""Batch, width and f_d of the paper's two scales, and a batch whose similarities fill 256 MiB."""
AMORTIZED = ("amorlip_l2log", "amorlip_fdiv")


def all_cases() -> list[Case]:
    """Every method at every size, AmorLIP with T_online 1, 8 and never."""
    return [
        Case(method, *size, t_online)
        for size in SIZES
        for method in registry.OBJECTIVES
        for t_online in ((1, 8, 0) if method in AMORTIZED else (0,))
    ]


def run(output_json: Path, output_md: Path, cases: list[Case] | None = None, rounds: int = 7) -> list[Result]:
    """Measure `cases` on the CPU and, where there is one, on the GPU; write both files.

    Each of up to `rounds` rounds times the reference and then the method; the figures are medians over rounds.
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    todo = [(case, device) for device in devices for case in cases or all_cases()]
    results = []
    for number, (case, device) in enumerate(todo, start=1):
        results.append(_measure(case, device, rounds))
        print(f"{number}/{len(todo)} {device} {case}: {results[-1].ratio:.2f} of ClipLoss", file=sys.stderr, flush=True)
    write_json(output_json, [asdict(result) for result in results])
    write_text(output_md, to_markdown(results))
    return results


def to_markdown(results: list[Result]) -> str:
    """The results as a table, times in milliseconds and memory in MiB."""
    lines = [
        f"PyTorch {torch.__version__}, {torch.get_num_threads()} CPU threads. Time and peak memory of one step, and",
        "the ratio to OpenCLIP's ClipLoss, forward and backward, on the same features in the same run.",
        "",
        "| method | batch | dim | T_online | device | ms | ClipLoss ms | ratio | peak MiB | ClipLoss peak MiB |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        t_online = r.t_online or "never"
        numbers = f"{r.ms:.1f} | {r.cliploss_ms:.1f} | {r.ratio:.2f} | {r.peak_mib:.0f} | {r.cliploss_peak_mib:.0f}"
        lines.append(f"| {r.method} | {r.batch} | {r.dim} | {t_online} | {r.device} | {numbers} |")
    return "\n".join(lines) + "\n"


def _measure(case: Case, device: str, rounds: int) -> Result:
    steps, plain = max(1, case.t_online), Case(REFERENCE, case.batch, case.dim, f_d=1.0)
    method, reference = step_of(case, device), step_of(plain, device)
    method(), reference()
    times, start = [], time.perf_counter()
    while len(times) < 3 or (len(times) < rounds and time.perf_counter() - start < PATIENCE_S):
        times.append((_seconds(reference, 1, device), _seconds(method, steps, device)))
    cliploss_ms, ms = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    del method, reference
    peaks = [_peak_mib(one, device) for one in (case, plain)]
    values = (ms, cliploss_ms, ms / cliploss_ms, *peaks)
    return Result(case.method, case.batch, case.dim, case.t_online, device, *(round(value, 4) for value in values))


def step_of(case: Case, device: str) -> Callable[[], None]:
    """A function that makes the next step of `case` on fixed features: loss and gradients."""
    features = _features(case, device)
    if case.method == REFERENCE:
        loss = ClipLoss()
        return lambda: loss(features.image_features, features.text_features, features.logit_scale).backward()
    never = 10**9
    settings = {"t_online": case.t_online or never, "f_d": case.f_d} if case.method in AMORTIZED else {}
    context = Context(case.dim, case.batch, case.batch, epochs=2, steps_per_epoch=never, seed=0, device=device)
    objective = registry.create(case.method, settings, context)
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
    leaves = [tensor.to(device).requires_grad_() for tensor in (image, text, torch.tensor(14.3), torch.tensor(-10.0))]
    return Features(*leaves, torch.arange(case.batch, device=device), step=0, epoch=1)


def _seconds(step: Callable[[], None], steps: int, device: str) -> float:
    """Mean over `steps` calls."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - start) / steps


@functools.cache
def _peak_mib(case: Case, device: str) -> float:
    """Largest memory a first step takes beyond that of the features and the objective's own state."""
    if device == "cuda":
        return _peak_on_gpu(case)
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=_peak_in_process, args=(case, child))
    process.start()
    child.close()
    try:
        return parent.recv()
    except EOFError:
        raise AmorlipError(f"the process that measures the memory of {case} ended early; run it again") from None
    finally:
        process.join()


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


def _peak_in_process(case: Case, pipe) -> None:
    """In a process of its own, as a process keeps memory that it has freed: the rise of its largest resident size.

    A small step comes first, since libraries are loaded and buffers made in the first one.
    """
    step_of(replace(case, batch=64), "cpu")()
    step = step_of(case, "cpu")
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident_mib("VmRSS")
    step()
    pipe.send(_resident_mib("VmHWM") - before)


def _resident_mib(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise AmorlipError(f"/proc/self/status has no {key}; memory can be measured on Linux only")
