"""Quantities that are logged beside the loss; computed in logging steps only, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from amorlip.objectives.similarities import Pairs


def partition_statistics(pairs: Pairs, log_z: Tensor) -> dict[str, Tensor]:
    """Mean and spread of `log_z` (2, b), the symmetric InfoNCE loss and the effective number of negatives, of this rank.

    InfoNCE is the same number for every method, whatever it minimises. The effective number is (Σ_j p_j)² / Σ_j p_j² with p_j ∝ exp(τ s_ij), j ≠ i: B - 1 if all negatives count alike, 1 if one
    of them makes up the whole sum; mean over the images.
    """
    return {
        "log_z_mean": log_z.mean(),
        "log_z_std": log_z.std(dim=1).mean(),
        "infonce": (pairs.with_positive(pairs.log_negatives, 1.0) - pairs.positive_logits).mean(),
        "effective_negatives": _effective_negatives(pairs).mean(),
    }


def _effective_negatives(pairs: Pairs) -> Tensor:
    blocks = pairs.strips[0].blocks()
    return torch.cat([(2 * block.logsumexp(1) - (2 * block).logsumexp(1)).exp() for _, block in blocks])
