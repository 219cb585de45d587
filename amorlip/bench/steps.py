"""Whole training steps, run in this process and timed by part.

Marks in the stream of work separate the parts: events on a GPU, the clock on a CPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from open_clip import CLIP
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from amorlip import models
from amorlip.config.run import Run
from amorlip.loader.loader import Batch
from amorlip.training import distributed, session, towers, transfer
from amorlip.training.distributed import World
from amorlip.training.optim import Update
from amorlip.training.session import Session
from amorlip.training.step import Encoders
from amorlip.training.text_padding import part_lengths

MIB = 2**20
PARTS = ("data", "forward", "objective", "backward", "optimizer")
WARM_UP = 3
"""Warmup steps, not counted: the first one compiles, and selects convolution algorithms."""
PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Part of a GPU's name → dense bfloat16 peak [FLOP/s], from NVIDIA's data sheets."""


@dataclass(frozen=True)
class Timing:
    """A step's wall-clock time, the median over rounds, and each part's mean over all steps [ms]."""

    step_ms: float
    parts_ms: dict[str, float]
    host_ms: float
    """Until Python has started a step's work; on a GPU, which works meanwhile, it should be less than `step_ms`."""
    peak_mib: float
    reserved_mib: float
    """GPU memory that PyTorch's allocator held at most, with what was free in it; on a CPU, `peak_mib`."""
    device: str
    text_positions: float
    """Positions of a text that are computed, on average: without its padding, or the whole context."""

    def middle(self, other: Timing) -> Timing:
        """With the time of a step and the peak memory in the middle of this and another measurement of the same."""
        step_ms, peak_mib = (self.step_ms + other.step_ms) / 2, (self.peak_mib + other.peak_mib) / 2
        return replace(self, step_ms=step_ms, peak_mib=peak_mib)


class SyntheticPairs:
    """Random images and captions in place of a corpus, in pinned memory where there is a GPU."""

    def __init__(self, run: Run, model: CLIP, *, samples: int, steps_per_epoch: int) -> None:
        self.batch_size, self.steps_per_epoch = run.recipe.batch_size, steps_per_epoch
        self.samples, self.max_sample_id, self.digest = samples, samples - 1, "synthetic"
        generator = torch.Generator().manual_seed(run.seed)
        size = (self.batch_size, 3, *_height_and_width(model))
        images = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        tokens = _captions(self.batch_size, model, generator)
        ids = torch.randperm(samples, generator=generator)[: self.batch_size]
        self.batch = Batch(images, tokens, ids)
        if torch.cuda.is_available():  # as the loader's, so that copies overlap with computation
            self.batch = Batch(*(tensor.pin_memory() for tensor in self.batch))

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The same batch again and again, from any `start_step` on."""
        while True:
            yield self.batch


def _captions(count: int, model: CLIP, generator: torch.Generator) -> Tensor:
    """Random tokens (count, L) of captions that are as long as those of web images, with end token and padding.

    20.2 ± 16.3 words, from a log-normal distribution, with about 1.3 tokens each; these numbers for CC12M (arXiv
    2102.08981) are unverified.
    """
    words = torch.empty(count, 1).log_normal_(2.755, 0.708, generator=generator)
    ends = (2 + 1.3 * words).long().clamp(3, model.context_length) - 1
    tokens = torch.randint(1, model.vocab_size - 1, (count, model.context_length), generator=generator)
    positions = torch.arange(model.context_length)
    return tokens.masked_fill(positions > ends, 0).masked_fill(positions == ends, model.vocab_size - 1)


class Marks:
    """Points in time between the parts of steps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[tuple[str, Any]] = []

    def clear(self) -> None:
        """Forget them."""
        self.marks = []

    def add(self, name: str) -> None:
        """The part `name` ends here."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        else:
            event = time.perf_counter()
        self.marks.append((name, event))

    def means_ms(self, steps: int) -> dict[str, float]:
        """Time of each part per step; call it when all work is done."""
        times = dict.fromkeys(PARTS, 0.0)
        for (_, before), (name, after) in zip(self.marks, self.marks[1:], strict=False):
            took = before.elapsed_time(after) if self.device.type == "cuda" else 1000 * (after - before)
            if name != "start":  # the time between two rounds
                times[name] += took / steps
        return times


class Stepper:
    """A session that trains step by step in its second epoch, in which the first epoch's networks are used."""

    def __init__(self, parts: Session) -> None:
        self.session, self.device = parts, parts.world.device
        self.step = self.epoch_start = parts.loader.steps_per_epoch
        self.marks = Marks(self.device)
        self.positions: list[float] = []
        self.host_s = 0.0
        self.batches = transfer.to_device(parts.loader.batches(self.step), self.device, parts.train_step.text_ends)
        for epoch in (0, 1):
            parts.objective.start_epoch(epoch)
        self._mark_parts()

    def train(self, steps: int) -> float:
        """Train for `steps` steps; returns the time from the first to the last kernel [s]."""
        self._wait()
        start = time.perf_counter()
        self.marks.add("start")
        for _ in range(steps):
            batch, ends = next(self.batches)
            self.marks.add("data")
            context = batch.tokens.shape[1]
            self.positions.append(context if ends is None else fmean(part_lengths(ends, context)))
            self.session.train_step(batch, text_ends=ends, step=self.step, epoch=1, log=False)
            self.step += 1
        self.host_s += time.perf_counter() - start
        self._wait()
        return time.perf_counter() - start

    def _mark_parts(self) -> None:
        """Parts end where the encoders, the objective and the update return, and where the update begins."""
        step, update = self.session.train_step, self.session.optimizer.update
        step.encoders.register_forward_hook(lambda *_: self.marks.add("forward"))
        self.session.objective.register_forward_hook(lambda *_: self.marks.add("objective"))

        def marked(loss: Tensor, step: int) -> Update:
            self.marks.add("backward")
            result = update(loss, step)
            self.marks.add("optimizer")
            return result

        self.session.optimizer.update = marked

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def open_stepper(run: Run, world: World, shards: Path | None) -> Stepper:
    """On the shards; None: on synthetic pairs."""
    if shards is not None:
        return Stepper(session.build(run, shards, world))
    model = session.new_model(run)
    pairs = SyntheticPairs(run, model, samples=max(run.recipe.batch_size, 2**20), steps_per_epoch=2**20)
    return Stepper(session.put_together(run, model, pairs, world))


def measure(run: Run, cache: Path, shards: Path | None, steps: int, rounds: int) -> Timing:
    """Time `rounds` of `steps` steps of `run` in this process, which should do nothing else."""
    towers.compile_into(cache)
    recipe = run.recipe
    with distributed.join(recipe.ranks, recipe.threads_per_rank, recipe.precision) as world:
        stepper = open_stepper(run, world, shards)
        stepper.train(WARM_UP)
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        stepper.marks.clear()
        stepper.host_s = 0.0
        seconds = statistics.median(stepper.train(steps) for _ in range(rounds))
        device = torch.cuda.get_device_name() if world.device.type == "cuda" else "cpu"
        return Timing(
            step_ms=1000 * seconds / steps,
            parts_ms=stepper.marks.means_ms(rounds * steps),
            host_ms=1000 * stepper.host_s / (rounds * steps),
            peak_mib=_peak_mib(world.device),
            reserved_mib=_reserved_mib(world.device),
            device=device,
            text_positions=fmean(stepper.positions),
        )


def serve(train: Callable[[int], float | None], pipe: Any) -> None:
    """Train for the number of steps that each message on `pipe` holds, and answer with the seconds; 0 ends it."""
    while steps := pipe.recv():
        start = time.perf_counter()
        train(steps)
        pipe.send(time.perf_counter() - start)


def flop_per_pair(model: str, text_positions: int | None = None) -> float:
    """Matrix multiplications of the towers' forward and backward pass for one pair [FLOP], without recomputation.

    `text_positions`: those of a text that are computed; None: the whole context.
    """
    network = cast(CLIP, models.create(model, seed=0))
    images = torch.zeros(2, 3, *_height_and_width(network), dtype=torch.uint8)
    tokens = torch.ones(2, text_positions or network.context_length, dtype=torch.int64)
    encoders = Encoders(network)
    if text_positions is not None:
        encoders.encode_text = encoders.encode_short_texts
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        image, text = encoders(images, tokens)
        (image * text).sum().backward()
    return counter.get_total_flops() / 2


def _height_and_width(model: CLIP) -> tuple[int, int]:
    size = models.image_size(model)
    return size if isinstance(size, tuple) else (size, size)


def peak_flop_per_s(device: str) -> float | None:
    """The chip's bfloat16 peak; None if `PEAKS` does not have it."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)


def _reserved_mib(device: torch.device) -> float:
    return torch.cuda.max_memory_reserved(device) / MIB if device.type == "cuda" else _peak_mib(device)


def _peak_mib(device: torch.device) -> float:
    """Peak memory: of tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")
