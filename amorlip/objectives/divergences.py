"""Amortization objectives: how far the estimate λ is from Z, per entry and in log space."""

from __future__ import annotations

from torch import Tensor


def l2_log(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """(log λ - log Z)² (Eq. 10)."""
    return (log_lambda - log_z).square()
