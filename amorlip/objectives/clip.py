"""CLIP: symmetric InfoNCE over the global batch."""

from __future__ import annotations

from amorlip.config.objectives import Clip
from amorlip.objectives import base
from amorlip.objectives.base import Features, Loss
from amorlip.objectives.diagnostics import partition_statistics
from amorlip.objectives.pairs import Pairs
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound


class Objective(base.Objective[Clip]):
    """The shared loss with λ = Z and w_ii = 1: twice the gradient of InfoNCE, which averages its two directions."""

    def compute(self, features: Features) -> Loss:
        pairs = Pairs(features, self.context)
        log_z = pairs.with_positive(pairs.log_negatives, 1.0)  # (2, b): the pair itself counts in Z
        loss = contrast(features, pairs, Normalization(log_z))
        diagnostics = partition_statistics(pairs, log_z) if features.log else {}
        return Loss(base.with_value(0.5 * loss, infonce_bound(loss, log_z)), diagnostics)
