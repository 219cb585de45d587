"""Quantities that are logged with the loss: computed in logging steps only, without waiting for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from amorlip.objectives.pairs import Pairs


def partition_statistics(pairs: Pairs, log_z: Tensor) -> dict[str, Tensor]:
    """For this rank: mean and spread of `log_z` (2, b), the InfoNCE loss and the effective number of negatives.

    InfoNCE, the mean of both directions, is one quantity for all methods, independent of what they minimize. The
    effective number is (Σ_j p_j)² / Σ_j p_j² with p_j ∝ exp(τ s_ij), j ≠ i, averaged over images: B - 1 if all
    negatives have the same weight, 1 if one of them makes up the whole sum.
    """
    return {
        "log_z_mean": log_z.mean(),
        "log_z_std": log_z.std(dim=1).mean(),
        # mean_i (log Z_i - τ s_ii), with the pair itself in Z
        "infonce": (pairs.with_positive(pairs.log_negatives, 1.0) - pairs.positive_logits).mean(),
        "effective_negatives": _effective_negatives(pairs).mean(),
    }


def estimation_error(estimate: Tensor, log_z: Tensor) -> dict[str, Tensor]:
    """How far `estimate` (2, b) is from this rank's `log_z` (2, b).

    `log_z_error` is the mean square (the l2-log objective, Eq. 10). `log_z_unexplained` is that error relative to the
    variance of `log_z` over the batch: 1 if the estimate is no better than a constant. Z is the sum over this batch,
    so both contain the batch's sampling noise (docs/decisions/2026-11-22-log-z-error.md).
    """
    error = (estimate - log_z).square().mean()
    return {"log_z_error": error, "log_z_unexplained": error / log_z.var(dim=1, correction=0).mean()}


def _effective_negatives(pairs: Pairs) -> Tensor:
    """(b,) per image: exp(2·log Σ e^a - log Σ e^2a), so that no exponential overflows."""
    blocks = pairs.strips[0].blocks()
    return torch.cat([(2 * block.logsumexp(1) - (2 * block).logsumexp(1)).exp() for _, block in blocks])
