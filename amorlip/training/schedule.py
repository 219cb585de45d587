"""The encoders' learning rate over steps."""

from __future__ import annotations

import math

from amorlip.common.errors import AmorlipError


def check(warmup_steps: int, steps: int) -> None:
    """Raises AmorlipError when the warmup does not end before the last of `steps`."""
    if warmup_steps >= steps:
        raise AmorlipError(
            f"schedule.warmup_steps is {warmup_steps}, but the whole run has {steps} steps; use fewer or train longer"
        )


def warmup_cosine(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of the update number `step` (counted from 0) of `steps`.

    It grows linearly to `peak` over `warmup_steps` updates and falls from there along half a cosine that reaches zero
    after the last update, so that every update does something.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
