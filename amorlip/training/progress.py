"""A run's progress and speed: the clock, the sums of a logging window, and the log lines."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from amorlip.training.distributed import World
from amorlip.training.optim import Update
from amorlip.training.records import StepRecord

MAX_SKIPPED_IN_A_ROW = 50
"""Training ends after this many skipped steps in a row."""

SHOWN_FIRST = ("loss", "logit_scale", "lr", "grad_norm")
HIDDEN = ("kind", "step", "epoch", "samples_seen", "samples_per_s")


@contextmanager
def log_to(path: Path, world: World, name: str, terminal: TextIO | None = None) -> Iterator[None]:
    """Write the package's log lines to `terminal` (stderr) and to the end of the file `path`, each with `name`.

    Ranks other than 0 write none.
    """
    package = logging.getLogger("amorlip")
    handlers: list[logging.Handler] = [logging.NullHandler()]
    if world.is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers = [logging.StreamHandler(terminal or sys.stderr), logging.FileHandler(path, encoding="utf-8")]
    before = package.level, package.propagate
    package.setLevel(logging.INFO)
    package.propagate = False
    for handler in handlers:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {name}: %(message)s", "%H:%M:%S"))
        package.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            package.removeHandler(handler)
            handler.close()
        package.setLevel(before[0])
        package.propagate = before[1]


class Clock:
    """Seconds of training, summed over interruptions, without pauses (evaluation, checkpoints)."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before, self._start = seconds, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Training time so far [s]."""
        return self._before + time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in the block does not count."""
        self._before = self.seconds
        try:
            yield
        finally:
            self._start = time.perf_counter()


class Window:
    """Sums over the steps since the last log line, and counts of steps that failed, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.state = {
            "loss_sum": zeros(),
            "applied": zeros(),
            "skipped": zeros(),
            "skipped_in_a_row": zeros(),
            "failed": zeros(),
            "first_failure": zeros(3),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from the `state` of an earlier window."""
        for name, value in state.items():
            self.state[name].copy_(value)

    def add(self, update: Update, step: int) -> None:
        """Add one step (numbered from 1)."""
        state, loss = self.state, update.loss.double()
        # torch.where, not loss * applied: NaN times 0 is NaN
        state["loss_sum"] += torch.where(update.applied, loss, 0.0)
        state["applied"] += update.applied
        state["skipped"] += ~update.applied
        state["skipped_in_a_row"] = torch.where(update.applied, 0.0, state["skipped_in_a_row"] + 1)
        here = torch.stack([torch.full_like(loss, step), loss, update.grad_norm.double()])
        state["first_failure"] = torch.where(update.failed & (state["failed"] == 0), here, state["first_failure"])
        state["failed"] += update.failed

    def trouble(self, on_nonfinite: str) -> str | None:
        """Why training should stop: a failed step under `stop`, or nothing but skipped steps. Waits for the GPU."""
        failed, in_a_row = int(self.state["failed"]), int(self.state["skipped_in_a_row"])
        step, loss, norm = self.state["first_failure"].tolist()
        if failed and on_nonfinite == "stop":
            return f"step {step:.0f}: not finite, with loss {loss:.6g} and gradient norm {norm:.6g}"
        return f"{in_a_row} steps in a row gave no finite gradient" if in_a_row >= MAX_SKIPPED_IN_A_ROW else None

    def close(self, update: Update, extra: dict[str, Tensor]) -> dict[str, float]:
        """Mean loss of the window, gradient norm of its last step, skipped steps so far, and `extra`; in one transfer.

        Starts the next window.
        """
        state = self.state
        values = {
            "loss": state["loss_sum"] / state["applied"],
            "grad_norm": update.grad_norm,
            "skipped_steps": state["skipped"],
            **extra,
        }
        # stacked: one transfer from the GPU instead of one per value
        numbers = torch.stack([value.detach().double() for value in values.values()]).tolist()
        state["loss_sum"], state["applied"] = torch.zeros_like(state["applied"]), torch.zeros_like(state["applied"])
        return {**dict(zip(values, numbers, strict=True)), "skipped_steps": int(numbers[2])}


def line(record: StepRecord, *, steps: int, epochs: int) -> str:
    """A step's record as one line, with the time that is left."""
    batch = record.samples_seen / record.step
    left = timedelta(seconds=round((steps - record.step) * batch / record.samples_per_s))
    numbers = record.model_dump()
    hidden = HIDDEN if record.skipped_steps else (*HIDDEN, "skipped_steps")
    names = [*SHOWN_FIRST, *(name for name in numbers if name not in (*SHOWN_FIRST, *hidden))]
    place = f"step {record.step}/{steps}  epoch {record.epoch}/{epochs}"
    return f"{place}  {record.samples_per_s:.0f} pairs/s  ETA {left}  {values({n: numbers[n] for n in names})}"


def values(numbers: Mapping[str, float | None]) -> str:
    """Names and numbers in one line."""
    return "  ".join(f"{name} {math.nan if number is None else number:.4g}" for name, number in numbers.items())
