"""SogCLR (Yuan et al. 2022) for image-text pairs: moving averages with a constant γ, constant logit scale."""

from __future__ import annotations

from amorlip.config.objectives import SogClr
from amorlip.objectives import base
from amorlip.objectives.base import Context, Features, Loss
from amorlip.objectives.global_contrastive import RunningAverages, log_mean_negatives, ratio_term
from amorlip.objectives.pairs import Pairs


class Objective(base.Objective[SogClr]):
    """½ mean_i (g^I_i/(u^I_i + ε) + g^T_i/(u^T_i + ε)), g_i = mean_{j≠i} e^(τ(s_ij - s_ii)); u constant."""

    per_sample = ("averages.log_u",)

    def __init__(self, settings: SogClr, context: Context) -> None:
        super().__init__(settings, context)
        self.averages = RunningAverages(context)

    def compute(self, features: Features) -> Loss:
        pairs = Pairs(features, self.context)
        log_g = log_mean_negatives(pairs)
        log_u = self.averages.update(features.sample_ids, log_g, self.settings.gamma)
        term = ratio_term(features, pairs, log_g, log_u, self.settings.eps)
        return Loss(base.with_value(term.loss, term.infonce_bound), term.diagnostics)
