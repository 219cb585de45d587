"""CLIP: symmetric InfoNCE over the global batch."""

from __future__ import annotations

from amorlip.objectives import base
from amorlip.objectives.base import Features, Loss
from amorlip.objectives.diagnostics import partition_statistics
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound
from amorlip.objectives.similarities import Pairs


class Objective(base.Objective):
    """λ = Z with w = 1 in the shared loss, which then has twice the gradient of InfoNCE's mean of two directions."""

    def compute(self, features: Features) -> Loss:
        pairs = Pairs(features, self.context)
        log_z = pairs.with_positive(pairs.log_negatives, 1.0)
        loss = contrast(features, pairs, Normalization(log_z))
        diagnostics = partition_statistics(pairs, log_z) if features.log else {}
        return Loss(base.with_value(0.5 * loss, infonce_bound(loss, log_z)), diagnostics)
