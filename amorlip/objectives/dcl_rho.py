"""Decoupled contrastive learning with AmorLIP's rule for the logit scale: AmorLIP without any estimate of Z."""

from __future__ import annotations

from amorlip.config.objectives import DclRho
from amorlip.objectives import base
from amorlip.objectives.base import Features, Loss
from amorlip.objectives.diagnostics import partition_statistics
from amorlip.objectives.pairs import Pairs
from amorlip.objectives.rho import rho_of_epoch
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound


class Objective(base.Objective[DclRho]):
    """L/sg(τ) + ρ/τ with λ = Z of the batch (sg: no gradient); twice DCL's gradient, over τ, apart from ρ's."""

    def compute(self, features: Features) -> Loss:
        settings, pairs = self.settings, Pairs(features, self.context)
        log_z = pairs.with_positive(pairs.log_negatives, settings.positive_weight)  # (2, b)
        contrastive = contrast(features, pairs, Normalization(log_z, settings.positive_weight))
        rho = rho_of_epoch(settings.rho, settings.rho_schedule, features.epoch, self.context.epochs)
        loss = contrastive / features.logit_scale.detach() + rho / features.logit_scale
        diagnostics = partition_statistics(pairs, log_z) if features.log else {}
        return Loss(base.with_value(loss, infonce_bound(contrastive, log_z)), diagnostics)
