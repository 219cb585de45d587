"""The encoders' learning rate over steps. The logit scale's is in optim.py; schedules of α, β, γ and ρ are with their
objectives."""

from __future__ import annotations

import math

from amorlip.common.errors import AmorlipError


def check(warmup_steps: int, steps: int) -> None:
    """Raises AmorlipError if the warmup does not end before the last of `steps`."""
    if warmup_steps >= steps:
        raise AmorlipError(
            f"schedule.warmup_steps is {warmup_steps}, but the whole run has {steps} steps; use fewer or train longer"
        )


def warmup_cosine(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of update number `step` (counted from 0) of `steps`, as OpenCLIP's `cosine_lr`.

    Linear up to `peak` over `warmup_steps` updates, then half a cosine down to zero, which it would reach in the update
    after the last: no update has the rate 0.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
