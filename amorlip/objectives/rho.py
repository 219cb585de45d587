"""ρ of the term ρ/τ, which keeps the temperature from collapsing, by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from amorlip.config.objectives import RhoChange


def rho_of_epoch(rho: float, schedule: Sequence[RhoChange], epoch: int, epochs: int) -> float:
    """The value that holds in `epoch` (counted from 0) of `epochs`."""
    for change in schedule:
        # The margin: a fraction written with few digits, such as 0.6667, means the epoch it rounds to.
        if epoch + 1e-3 * epochs >= change.from_fraction * epochs:
            rho = change.value
    return rho
