"""FastCLIP (arXiv 2407.01445): the global contrastive loss with a cosine schedule of γ.

v3 learns one temperature T = 1/τ through the robust global loss. v0 learns it through the ratio itself. v1 keeps it
constant (the recipe sets `logit_scale.learnable: false`). v2, with a temperature per sample, is not implemented.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from amorlip.config.objectives import FastClip
from amorlip.objectives import base
from amorlip.objectives.base import Context, Features, Loss
from amorlip.objectives.global_contrastive import RunningAverages, cosine_gamma, log_mean_negatives, ratio_term
from amorlip.objectives.pairs import Pairs


class Objective(base.Objective[FastClip]):
    """v3: sg(T)·½ mean(g^I/u^I + g^T/u^T) + ρT + ½ mean(log u^I + log u^T)·T, with u constant (sg: no gradient)."""

    per_sample = ("averages.log_u",)

    def __init__(self, settings: FastClip, context: Context) -> None:
        super().__init__(settings, context)
        self.averages = RunningAverages(context)

    def compute(self, features: Features) -> Loss:
        settings, pairs = self.settings, Pairs(features, self.context)
        gamma = cosine_gamma(settings.gamma, settings.gamma_horizon_epochs, self.context, features.epoch)
        log_g = log_mean_negatives(pairs)
        log_u = self.averages.update(features.sample_ids, log_g, gamma)
        doubled = features
        # The authors' code adds the first term's gradient in τ once per direction of exchange, so twice; the formula
        # has it once (docs/decisions/2026-11-22-released-code.md). 2τ - sg(τ) has the value τ and the gradient 2.
        if settings.tau_gradient == "code":
            doubled = replace(features, logit_scale=2.0 * features.logit_scale - features.logit_scale.detach())
        term = ratio_term(doubled, pairs, log_g, log_u, settings.eps)
        loss = term.loss if settings.version != "v3" else self._robust(term.loss, log_u, features.logit_scale)
        return Loss(base.with_value(loss, term.infonce_bound), term.diagnostics)

    def _robust(self, ratio: Tensor, log_u: Tensor, logit_scale: Tensor) -> Tensor:
        """v3's terms in T: τ gets its gradient from the ratio (unscaled by T) and from ρ and log u."""
        temperature = 1.0 / logit_scale
        return ratio * temperature.detach() + temperature * (self.settings.rho + 0.5 * log_u.mean(1).sum())
