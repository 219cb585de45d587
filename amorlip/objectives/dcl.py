"""Decoupled contrastive learning (Yeh et al. 2022, arXiv 2110.06848): CLIP without the pair itself in Z."""

from __future__ import annotations

from amorlip.config.objectives import Dcl
from amorlip.objectives import base
from amorlip.objectives.base import Features, Loss
from amorlip.objectives.diagnostics import partition_statistics
from amorlip.objectives.pairs import Pairs
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound


class Objective(base.Objective[Dcl]):
    """½ mean_i (log Z^I_i + log Z^T_i) - mean_i τ s_ii, with `positive_weight` for the pair itself in Z."""

    def compute(self, features: Features) -> Loss:
        pairs = Pairs(features, self.context)
        weight = self.settings.positive_weight
        log_z = pairs.with_positive(pairs.log_negatives, weight)  # (2, b)
        loss = contrast(features, pairs, Normalization(log_z, weight))
        diagnostics = partition_statistics(pairs, log_z) if features.log else {}
        return Loss(base.with_value(0.5 * loss, infonce_bound(loss, log_z)), diagnostics)
