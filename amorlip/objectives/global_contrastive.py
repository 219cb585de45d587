"""The global contrastive loss of SogCLR and FastCLIP: a moving average of Z for every training sample.

Shapes: b pairs of this rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amorlip.objectives import per_sample
from amorlip.objectives.base import Context, Features
from amorlip.objectives.collectives import gather, total
from amorlip.objectives.diagnostics import estimation_error, partition_statistics
from amorlip.objectives.pairs import Pairs
from amorlip.objectives.shared_loss import Normalization, contrast


class RunningAverages(nn.Module):
    """log u per sample and modality: u ← (1-γ)u + γg, and u = g for a sample never seen.

    Kept in log space, where exp(τ(s_ij - s_ii)) cannot overflow. With several ranks, each one keeps those of its own
    ids, and the owner of a sample takes part in every update of it: samples move between ranks
    (docs/decisions/2026-11-22-distributed-objectives.md).
    """

    log_u: Tensor

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.rank, self.world_size = context.rank, context.world_size
        width = per_sample.columns(context.samples, context.world_size)
        self.register_buffer("log_u", torch.full((2, width), -math.inf))

    @torch.no_grad()
    def update(self, sample_ids: Tensor, log_g: Tensor, gamma: float) -> Tensor:
        """Average in this rank's `log_g` (2, b) of `sample_ids` (b,); returns their new log u (2, b)."""
        everyone = gather(sample_ids, self.world_size)
        mine = everyone % self.world_size == self.rank
        places = torch.where(mine, everyone // self.world_size, self.log_u.shape[1] - 1)
        known = total(torch.where(mine, self.log_u[:, places], 0.0), self.world_size)  # only the owner adds something
        fresh = log_g
        if gamma < 1.0:
            pairs = len(sample_ids)
            old = known[:, self.rank * pairs : (self.rank + 1) * pairs].to(log_g.dtype)
            mixed = torch.logaddexp(old + math.log1p(-gamma), log_g + math.log(gamma))
            fresh = torch.where(old.isneginf(), log_g, mixed)  # -∞: never seen
        new = gather(fresh, self.world_size, dim=1).to(self.log_u.dtype)
        self.log_u[:, places] = torch.where(mine, new, -math.inf)
        return fresh


@dataclass
class RatioTerm:
    """½ mean_i (g^I_i/(u^I_i + ε) + g^T_i/(u^T_i + ε)) with u constant."""

    loss: Tensor
    """() the term; its gradient reaches the features and τ."""
    log_u: Tensor
    """(2, b)."""
    infonce_bound: Tensor
    """() upper bound of the symmetric InfoNCE loss without the pair itself in Z; exact where u = g."""
    diagnostics: dict[str, Tensor]


def log_mean_negatives(pairs: Pairs) -> Tensor:
    """(2, b) log g_i, g_i = mean_{j≠i} exp(τ(s_ij - s_ii))."""
    return pairs.log_negatives - pairs.positive_logits - math.log(pairs.others)


def add_constant(log_values: Tensor, constant: float) -> Tensor:
    """log(e^log_values + constant)."""
    if constant == 0.0:
        return log_values
    return torch.logaddexp(log_values, log_values.new_full((), math.log(constant)))


def ratio_term(features: Features, pairs: Pairs, log_g: Tensor, log_u: Tensor, eps: float) -> RatioTerm:
    """The term and what is logged with it, given log g and log u (2, b) and ε = `eps`."""
    log_denominator = add_constant(log_u, eps)
    # g/(u + ε) in terms of the shared loss: λ_i = (u_i + ε)(B - 1)e^(τ s_ii), w_ii = 0, c_i = g_i/(u_i + ε)
    log_lambda = log_denominator + math.log(pairs.others) + pairs.positive_logits
    ratios = (log_g - log_denominator).exp()  # (2, b)
    normalization = Normalization(log_lambda, positive_weight=0.0, coefficients=ratios.sum(0))
    loss = 0.5 * contrast(features, pairs, normalization)
    value = 0.5 * ratios.sum(0).mean()
    diagnostics = {}
    if features.log:
        diagnostics = partition_statistics(pairs, pairs.log_negatives) | estimation_error(log_denominator, log_g)
    # log g ≤ log u + g/u - 1, and InfoNCE without the pair itself is log((B - 1) g)
    bound = value - 1.0 + 0.5 * log_denominator.mean(1).sum() + math.log(pairs.others)
    return RatioTerm(value + (loss - loss.detach()), log_u, bound, diagnostics)


def cosine_gamma(gamma: float, horizon: int | None, context: Context, epoch: int) -> float:
    """FastCLIP's γ: 1 in epoch 0, down to `gamma` at `horizon` (null: half of the epochs) on half a cosine."""
    last = horizon if horizon is not None else max(1, context.epochs // 2)
    if epoch >= last:
        return gamma if epoch > 0 else 1.0
    return gamma + 0.5 * (1.0 - gamma) * (1.0 + math.cos(math.pi * epoch / last))
