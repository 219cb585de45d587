"""AmorLIP with the l2-log amortization objective (Eq. 10)."""

from __future__ import annotations

from amorlip.objectives.amorlip import AmortizedObjective
from amorlip.objectives.divergences import l2_log


class Objective(AmortizedObjective):
    """Networks minimize mean (log λ - log Z_comb)²."""

    divergence = staticmethod(l2_log)
