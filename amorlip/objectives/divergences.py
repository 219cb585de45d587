"""Amortization objectives: how far the estimate λ is from Z, per entry and in log space.

An f-divergence between the batch's conditional P(j|i) = w_ij exp(τ s_ij)/Z_i and the amortized one, in which λ_i stands
for Z_i, is mean_i f(r_i) with r = Z/λ. The amortized one does not sum to one, so f must be smallest at r = 1, whatever
a constant times (r - 1) would add for two distributions: hence t log t - t + 1 for KL, not the bare t log t of Eq. 9,
which is smallest at λ = e·Z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

LARGEST_LOG_RATIO = 20.0
"""Beyond this log r, f is continued by its tangent: e^20 leaves float32 room for sums, products and Adam's squares."""


def l2_log(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """(log λ - log Z)² (Eq. 10)."""
    return (log_lambda - log_z).square()


def kl(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """f(t) = t log t - t + 1; ½ (log λ - log Z)² to second order."""
    log_ratio, excess = _split(log_z - log_lambda)
    ratio = log_ratio.exp()
    return ratio * (log_ratio - 1) + 1 + excess * (ratio * log_ratio).detach()


def js(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """f(t) = ½ (t log t - (t + 1) log((t + 1)/2)); ⅛ (log λ - log Z)² to second order."""
    log_ratio, excess = _split(log_z - log_lambda)
    ratio = log_ratio.exp()
    # t log t - (t + 1) log((t + 1)/2) without the difference of large terms: log((t+1)/2) = softplus(log t) - log 2.
    value = 0.5 * (ratio * (math.log(2) - softplus(-log_ratio)) - softplus(log_ratio) + math.log(2))
    slope = 0.5 * ratio * (math.log(2) - softplus(-log_ratio))
    return value + excess * slope.detach()


def _split(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """`log_ratio` up to LARGEST_LOG_RATIO, and what it exceeds that by."""
    bounded = torch.clamp(log_ratio, max=LARGEST_LOG_RATIO)
    return bounded, log_ratio - bounded
