"""Amortization objectives (stage I): how far the estimate λ is from Z, elementwise and in log space.

The batch's conditional is P(j|i) = w_ij exp(τ s_ij)/Z_i; the amortized one has λ_i in place of Z_i. Their f-divergence
is mean_i f(r_i) with r = Z/λ. The amortized conditional does not sum to one, so f must have its minimum at r = 1:
t log t - t + 1 for KL. The bare t log t of Eq. 9 has its minimum at λ = e·Z.
Why, and what the release does: docs/decisions/2026-11-22-fdiv-reduction.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

LARGEST_LOG_RATIO = 20.0
"""f continues along its tangent for larger log r: e^20 leaves float32 room for sums, products and Adam's squares."""


def l2_log(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """(log λ - log Z)² (Eq. 10)."""
    return (log_lambda - log_z).square()


def kl(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """f(t) = t log t - t + 1 (Eq. 9, with its minimum at 1); ½ (log λ - log Z)² to second order."""
    log_ratio, excess = _split(log_z - log_lambda)
    ratio = log_ratio.exp()
    # With x = log t: f = e^x (x - 1) + 1 and df/dx = x e^x.
    return ratio * (log_ratio - 1) + 1 + excess * (ratio * log_ratio).detach()


def js(log_lambda: Tensor, log_z: Tensor) -> Tensor:
    """f(t) = ½ (t log t - (t + 1) log((t + 1)/2)) (Eq. 9); ⅛ (log λ - log Z)² to second order."""
    log_ratio, excess = _split(log_z - log_lambda)
    ratio = log_ratio.exp()
    # log((t + 1)/2) = softplus(log t) - log 2, and log t - softplus(log t) = -softplus(-log t):
    # the large terms t log t and t log(t + 1) cancel on paper, not in float32.
    value = 0.5 * (ratio * (math.log(2) - softplus(-log_ratio)) - softplus(log_ratio) + math.log(2))
    # With x = log t: df/dx = ½ t log(2t/(t + 1)).
    slope = 0.5 * ratio * (math.log(2) - softplus(-log_ratio))
    return value + excess * slope.detach()


def _split(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """`log_ratio` up to LARGEST_LOG_RATIO, and the rest above it."""
    bounded = torch.clamp(log_ratio, max=LARGEST_LOG_RATIO)
    return bounded, log_ratio - bounded
