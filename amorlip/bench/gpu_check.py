"""What to run first on a machine with a GPU: every path that a CPU does not take, each check by itself.

A check is a function that returns what it found and raises Wrong for what should not be. `tests/gpu/` runs the same
functions. With `tiny`, everything that does not need a GPU runs on a CPU, to try the checks themselves.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from amorlip import models
from amorlip.bench import pictures, report, steps
from amorlip.bench.report import Column
from amorlip.bench.train import runs_of
from amorlip.common import devices
from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import OBJECTIVES
from amorlip.config.run import Run
from amorlip.loader.augment import train_transform
from amorlip.loader.loader import Batch, PairLoader
from amorlip.training import session, transfer
from amorlip.training.checkpoint import Checkpoints
from amorlip.training.checkpoint_writer import CheckpointWriter
from amorlip.training.distributed import World
from amorlip.training.optim import Update
from amorlip.training.session import Session

GIB = 2**30
FREE_SHARED_GIB = 8
"""Shared memory that the loaders of the paper's recipes may need."""
STEPS_PER_EPOCH = 2**10
PAIRS = 64
"""Batch of the small runs."""


class Wrong(Exception):
    """What a check found is not as it should be."""


@dataclass(frozen=True)
class Place:
    """Where the checks run."""

    device: torch.device
    tiny: bool = False

    @property
    def is_gpu(self) -> bool:
        """False where a check can only be tried."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """For all that the device has to do."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    check: str
    passed: bool
    seconds: float
    found: dict[str, Any]


HEADING = "Checks of the code on this machine's GPU. A failed one says what was found."
COLUMNS = [
    Column("check", "{check}", is_number=False),
    Column("passed", "{passed}", is_number=False),
    Column("seconds", "{seconds:.1f}"),
    Column("found", "{found}", is_number=False),
]


def run(output_json: Path, output_md: Path, *, tiny: bool = False, only: Sequence[str] | None = None) -> list[Result]:
    """Run all checks, or those whose names fit `only`; write both files after each.

    Raises AmorlipError if there is no GPU, and at the end if checks failed.
    """
    place = Place(torch.device("cpu") if tiny else devices.best(), tiny)
    if not tiny and not place.is_gpu:
        raise AmorlipError("there is no GPU here; --tiny tries the checks on the CPU")
    todo = report.selected(CHECKS, [check.__name__ for check in CHECKS], only)
    results = []
    for number, check in enumerate(todo, start=1):
        results.append(_result(check, place))
        said = "passed" if results[-1].passed else f"FAILED: {results[-1].found['error']}"
        report.progress(number, len(todo), f"{check.__name__}: {said}")
        report.write(output_json, output_md, results, HEADING, COLUMNS)
    if failed := [result.check for result in results if not result.passed]:
        raise AmorlipError(f"{len(failed)} checks failed ({', '.join(failed)}); see {output_md}")
    return results


def _result(check: Callable[[Place], dict[str, Any]], place: Place) -> Result:
    start = time.perf_counter()
    try:
        found, passed = check(place), True
    except Exception as error:  # each check is independent of the others
        found, passed = {"error": f"{type(error).__name__}: {error}"[:500]}, False
    return Result(check.__name__, passed, round(time.perf_counter() - start, 1), found)


def require(condition: bool, message: object) -> None:
    """Raise Wrong with `message` unless the condition holds."""
    if not condition:
        raise Wrong(str(message))


# ---------------------------------------------------------------- small runs


def small(method: str = "clip", scale: str = "large", **recipe: Any) -> Run:
    """A run of the paper's recipe with the demo's model and PAIRS pairs, uncompiled unless `recipe` says so."""
    run = next(run for run in runs_of([scale]) if run.method == method)
    settings = {**run.settings, "prototypes": 64} if method == "neuclip" else run.settings
    keys = {"model": "demo", "batch_size": PAIRS, "threads_per_rank": 1, "compile": "never", **recipe}
    return run.model_copy(update={"recipe": run.recipe.model_copy(update=keys), "settings": settings})


def opened(run: Run, device: torch.device) -> tuple[Session, Batch]:
    """A session on random pairs, and its batch on the device."""
    model = session.new_model(run)
    pairs = steps.SyntheticPairs(run, model, samples=2**12, steps_per_epoch=STEPS_PER_EPOCH)
    parts = session.put_together(run, model, pairs, World(device))
    return parts, Batch(*(tensor.to(device) for tensor in pairs.batch))


def trained(parts: Session, batch: Batch, step: int) -> Update:
    """One step."""
    ends = parts.train_step.text_ends
    lengths = None if ends is None else ends(batch.tokens.cpu())
    epoch = step // STEPS_PER_EPOCH
    return parts.train_step(batch, text_ends=lengths, step=step, epoch=epoch, log=False).update


@contextmanager
def no_waiting(place: Place) -> Iterator[None]:
    """Within the block PyTorch raises an error where the host waits for the GPU."""
    if not place.is_gpu:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# ---------------------------------------------------------------- checks


def environment(place: Place) -> dict[str, Any]:
    """Driver, compiler, shared memory, cores: what makes a run slow without a word."""
    shared = shutil.disk_usage("/dev/shm").free / GIB
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "compiler": shutil.which("gcc") or shutil.which("cc") or shutil.which("clang"),
        "shared_memory_gib": round(shared, 1),
        "cores": len(os.sched_getaffinity(0)),
    }
    if place.is_gpu:
        found |= {"gpu": torch.cuda.get_device_name(place.device), "memory_gib": _memory_gib(place.device)}
        require(bool(found["compiler"]), "no C compiler: Triton cannot build its launcher, and towers run uncompiled")
        require(shared >= FREE_SHARED_GIB, f"{shared:.1f} GiB of shared memory; loaders may need {FREE_SHARED_GIB}")
    return found


def _memory_gib(device: torch.device) -> float:
    return round(torch.cuda.get_device_properties(device).total_memory / GIB, 1)


def methods_without_waiting(place: Place) -> dict[str, Any]:
    """Each method's steps, from a step in the middle of an epoch on and into the next epoch."""
    losses = {}
    for method in OBJECTIVES:
        parts, batch = opened(small(method), place.device)
        lengths = parts.train_step.text_ends
        ends = None if lengths is None else lengths(batch.tokens.cpu())
        for step in (STEPS_PER_EPOCH - 2, STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH):
            epoch = step // STEPS_PER_EPOCH
            parts.objective.start_epoch(epoch)
            # the first step sets things up
            with no_waiting(place) if step >= STEPS_PER_EPOCH - 1 else nullcontext():
                outcome = parts.train_step(batch, text_ends=ends, step=step, epoch=epoch, log=False)
            update = outcome.update
            require(bool(update.applied), f"{method}: step {step} was skipped")
            losses[method] = round(float(update.loss), 4)
    return losses


def cpu_and_gpu_agree(place: Place) -> dict[str, Any]:
    """Three float32 steps of each method on both: losses within 1e-3, gradient norms within 1e-2."""
    devices.set_float32_precision("float32")
    differences = {}
    for method in OBJECTIVES:
        sides = []
        for device in (torch.device("cpu"), place.device):
            parts, batch = opened(small(method, precision="float32"), device)
            parts.objective.start_epoch(0)
            updates = [trained(parts, batch, step) for step in range(3)]
            sides.append([(float(update.loss), float(update.grad_norm)) for update in updates])
        for (loss, norm), (loss_2, norm_2) in zip(*sides, strict=True):
            require(math.isclose(loss, loss_2, rel_tol=1e-3), f"{method}: losses {loss} and {loss_2}")
            require(math.isclose(norm, norm_2, rel_tol=1e-2), f"{method}: gradient norms {norm} and {norm_2}")
        differences[method] = max(abs(a[0] / b[0] - 1) for a, b in zip(*sides, strict=True))
    return differences


def a_bad_step_changes_nothing(place: Place) -> dict[str, Any]:
    """Weights, BatchNorm, moments and step counters stay; float16 halves its scale; the next step is applied."""
    scales = {}
    for precision in ("bfloat16", "float16"):
        parts, batch = opened(small(precision=precision), place.device)
        trained(parts, batch, 0)
        before = {name: value.clone() for name, value in parts.model.state_dict().items()}
        scale = parts.optimizer.scaler.get_scale()
        spoil = cast(Tensor, parts.model.text_projection).register_hook(lambda gradient: gradient * math.nan)
        update = trained(parts, batch, 1)
        spoil.remove()
        require(not bool(update.applied), f"{precision}: a gradient that is not a number was applied")
        changed = [name for name, value in parts.model.state_dict().items() if not torch.equal(value, before[name])]
        require(not changed, f"{precision}: {changed} changed")
        if parts.optimizer.scaler.is_enabled():
            require(parts.optimizer.scaler.get_scale() == scale / 2, f"{precision}: the loss scale did not fall")
        require(bool(trained(parts, batch, 2).applied), f"{precision}: the step after it was skipped")
        scales[precision] = scale
    return scales


def micro_batches_and_recomputation_agree(place: Place) -> dict[str, Any]:
    """Gradient norms of a transformer's step as a whole, in parts and with recomputed activations; peak memory."""
    devices.set_float32_precision("float32")
    model, batch_size = ("ViT-B-32", PAIRS) if place.is_gpu else ("mini_vit", PAIRS)
    kinds: dict[str, dict[str, Any]] = {
        "whole": {},
        "micro": {"micro_batch_size": batch_size // 4},
        "recomputed": {"activation_checkpointing": True},
    }
    found: dict[str, Any] = {}
    for name, keys in kinds.items():
        parts, batch = opened(small(model=model, batch_size=batch_size, precision="float32", **keys), place.device)
        if place.is_gpu:
            torch.cuda.reset_peak_memory_stats()
        norm = float(trained(parts, batch, 0).grad_norm)
        peak = torch.cuda.max_memory_allocated() / GIB if place.is_gpu else None
        found[name] = {"grad_norm": norm, "peak_gib": peak}
        require(math.isclose(norm, found["whole"]["grad_norm"], rel_tol=5e-3), found)
    return found


def a_checkpoint_goes_there_and_back(place: Place) -> dict[str, Any]:
    """The first run goes on while its checkpoint is written; a second one, from the file, has the same two losses."""
    found = {}
    for method in OBJECTIVES:
        first, batch = opened(small(method), place.device)
        first.objective.start_epoch(0)
        for step in range(3):
            trained(first, batch, step)
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder))
            with CheckpointWriter(checkpoints, place.device) as writer:
                writer.start(3, first.state_dict(3), (), since=time.monotonic())
                losses = [[float(trained(first, batch, step).loss) for step in (3, 4)]]
            state = checkpoints.read(3)
        second, _ = opened(small(method), place.device)
        second.load_state_dict(state)
        second.objective.start_epoch(0)
        losses += [[float(trained(second, batch, step).loss) for step in (3, 4)]]
        for one, other in zip(*losses, strict=True):
            require(math.isclose(one, other, rel_tol=1e-3), f"{method}: {losses}")
        found[method] = losses[0]
    return found


NCCL = """
import sys, torch, torch.distributed as dist
device = torch.device("cuda", 0)
torch.cuda.set_device(device)
dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device, rank=0, world_size=1,
                        init_method=f"file://{sys.argv[1]}")
for where in ("cpu", device):
    dist.all_reduce(torch.ones(3, device=where))
layer = torch.nn.Linear(4, 4).to(device)
layer = torch.nn.parallel.DistributedDataParallel(
    layer, device_ids=[0], static_graph=True, gradient_as_bucket_view=True, forward_sync_buffers=False
)
for _ in range(3):
    layer(torch.ones(2, 4, device=device)).sum().backward()
dist.destroy_process_group()
"""


def nccl_beside_gloo(place: Place) -> dict[str, Any]:
    """The process group of training, with one rank, in a process of its own."""
    if not place.is_gpu:
        return {"skipped": "it needs a GPU"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", NCCL, f"{folder}/meeting"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    require(done.returncode == 0, done.stderr[-400:])
    return {"nccl": ".".join(map(str, torch.cuda.nccl.version()))}


def paper_steps(place: Place) -> dict[str, Any]:
    """Whole steps at both settings of the paper, uncompiled and compiled: speed, memory, the chip's share."""
    found = {}
    for scale, method, choice in (
        ("large", "clip", "never"), ("large", "clip", "auto"), ("large", "amorlip_l2log", "auto"),
        ("medium", "clip", "auto"), ("medium", "amorlip_l2log", "auto"),
    ):  # fmt: skip
        run = next(run for run in runs_of([scale]) if run.method == method)
        keys = {"compile": choice} | ({} if place.is_gpu else {"model": "demo", "batch_size": 16})
        run = run.model_copy(update={"recipe": run.recipe.model_copy(update=keys)})
        with tempfile.TemporaryDirectory() as cache:
            timing = steps.measure(run, Path(cache), None, steps=16 if place.is_gpu else 1, rounds=1)
        speed = 1000 * run.recipe.batch_size / timing.step_ms
        row: dict[str, Any] = {"pairs_per_s": round(speed), "peak_gib": round(timing.peak_mib / 1024, 1)}
        if peak := steps.peak_flop_per_s(timing.device):
            row["share"] = round(speed * steps.flop_per_pair(run.recipe.model) / peak, 3)
        found[f"{scale}/{method}/{choice}"] = row
        torch._dynamo.reset()
        if place.is_gpu:
            torch.cuda.empty_cache()
    return found


def loader_to_gpu(place: Place) -> dict[str, Any]:
    """Pictures per second from shards of JPEGs, as large as the paper's, to the device, with this machine's cores."""
    cores, pairs, batch_size = len(os.sched_getaffinity(0)), 512 if place.is_gpu else 8, 256 if place.is_gpu else 8
    workers = max(1, cores - 2) if place.is_gpu else 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "train"
        pictures.write_split(folder, partial(pictures.photograph, 341, 256), "jpg", pairs)
        run = small(model="RN50" if place.is_gpu else "demo")
        loader = PairLoader(
            folder, batch_size=batch_size, epochs=1000, seed=0, workers=workers,
            transform=train_transform(models.image_size(session.new_model(run)), run.recipe.augmentation),
            tokenizer=models.tokenizer(run.recipe.model),
        )  # fmt: skip
        feed, count = transfer.to_device(loader.batches(), place.device), 4 * max(1, workers)
        for _ in range(count):
            next(feed)
        start = time.perf_counter()
        for _ in range(count):
            next(feed)
        place.wait()
        speed = count * batch_size / (time.perf_counter() - start)
    return {"workers": workers, "pictures_per_s": round(speed), "per_worker": round(speed / max(1, workers))}


CHECKS: list[Callable[[Place], dict[str, Any]]] = [
    environment,
    methods_without_waiting,
    cpu_and_gpu_agree,
    a_bad_step_changes_nothing,
    micro_batches_and_recomputation_agree,
    a_checkpoint_goes_there_and_back,
    nccl_beside_gloo,
    loader_to_gpu,
    paper_steps,
]
