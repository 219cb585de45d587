"""AmorLIP with the l2-log amortization objective (Eq. 10)."""

from __future__ import annotations

from torch import Tensor

from amorlip.config.objectives import AmorlipL2Log
from amorlip.objectives.amorlip import AmorlipObjective
from amorlip.objectives.divergences import l2_log


class Objective(AmorlipObjective[AmorlipL2Log]):
    """The networks minimize mean (log λ - log Z_comb)²."""

    def divergence(self, log_lambda: Tensor, log_z: Tensor) -> Tensor:
        return l2_log(log_lambda, log_z)
