"""AmorLIP with an f-divergence as amortization objective (Eq. 9), regularized by l2-log (appendix C)."""

from __future__ import annotations

from torch import Tensor

from amorlip.config.objectives import AmorlipFDiv
from amorlip.objectives import divergences
from amorlip.objectives.amorlip import AmorlipObjective


class Objective(AmorlipObjective[AmorlipFDiv]):
    """The networks minimize mean f(Z_comb/λ) + l2_weight · mean (log λ - log Z_comb)²."""

    def divergence(self, log_lambda: Tensor, log_z: Tensor) -> Tensor:
        # The release averages over the B² elements of the batch's matrix: 1/B of the mean over pairs.
        # Then l2-log dominates: docs/decisions/2026-11-22-fdiv-reduction.md
        share = 1.0 if self.settings.fdiv_reduction == "mean" else 1.0 / self.context.batch_size
        f_divergence = getattr(divergences, self.settings.divergence)(log_lambda, log_z)
        return share * f_divergence + self.settings.l2_weight * divergences.l2_log(log_lambda, log_z)
