"""AmorLIP's step: fit networks to log Z (stage I), then contrast with the amortized λ (stage II)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import Amorlip
from amorlip.objectives import base, collectives
from amorlip.objectives.amorlip_networks import Amortization, Divergence, Networks
from amorlip.objectives.base import Context, Features, Loss
from amorlip.objectives.diagnostics import estimation_error, partition_statistics
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound
from amorlip.objectives.similarities import Pairs


class AmortizedObjective(base.Objective):
    """The paper's Algorithm 1 for any amortization objective; the subclass names it in `divergence`."""

    divergence: Divergence
    settings: Amorlip

    def __init__(self, settings: Amorlip, context: Context) -> None:
        super().__init__(settings, context)
        if settings.negatives == "local" and context.batch_size // context.world_size < 2:
            raise AmorlipError(
                "negatives: local needs at least two pairs per rank; use fewer ranks or negatives: global"
            )
        self.amortization = Amortization(
            context.embed_dim,
            max(1, round(settings.f_d * context.embed_dim)),
            lr=settings.lr * (context.world_size if settings.lr_rule == "times_ranks" else 1),
            grad_clip=settings.grad_clip,
            world_size=context.world_size,
        )
        self.epoch = -1

    def start_epoch(self, epoch: int) -> None:
        """Keep the target as `previous` and start anew. Seeds depend on (seed, epoch), so ranks and resumes agree."""
        if epoch == self.epoch:
            return
        if self.epoch >= 0:
            self.amortization.keep_previous()
        if self.epoch < 0 or self.settings.reinitialize:
            self.amortization.reinitialize(_seed(self.context.seed, epoch))
        self.epoch = epoch

    def compute(self, features: Features) -> Loss:
        """Stages I and II; `start_epoch` has been called."""
        step = _Step(self, features)
        within_epoch = features.step % self.context.steps_per_epoch
        if within_epoch % self.settings.t_online == 0:
            self._stage_one(step, first=within_epoch == 0)
        if within_epoch % self.settings.t_target == 0:
            self.amortization.update_target(self._alpha())
        return self._stage_two(step)

    def _stage_one(self, step: _Step, first: bool) -> None:
        """Fit the online networks to log Z_comb of this batch."""
        log_target = step.log_z_combined(self.settings.target_negatives)
        starts = self.epoch == 0 or self.settings.reinitialize
        if first and starts and self.settings.bias_init == "data":
            self.amortization.start_at(collectives.mean(log_target.mean(1), self.context.world_size))
        self.amortization.fit(step.image, step.text, log_target, self.divergence, self.settings.t_lambda)

    def _stage_two(self, step: _Step) -> Loss:
        """L(x, y; λ)/sg(τ) + ρ/τ; shown is the bound of InfoNCE that L is."""
        features, log_lambda = step.features, step.log_lambda()
        normalization = Normalization(log_lambda, positive_weight=self.settings.positive_weight)
        contrastive = contrast(features, step.pairs(self.settings.negatives), normalization)
        loss = contrastive / features.logit_scale.detach() + self._rho() / features.logit_scale
        diagnostics = self._diagnostics(step) if features.log else {}
        return Loss(base.with_value(loss, infonce_bound(contrastive, log_lambda)), diagnostics)

    def _diagnostics(self, step: _Step) -> dict[str, Tensor]:
        """With the partition's statistics: how well the target networks know log Z, and how much λ leaves it."""
        log_z = step.log_z(self.settings.negatives)
        return {
            **partition_statistics(step.pairs(self.settings.negatives), log_z),
            **estimation_error(step.network(self.amortization.target), log_z),
            "z_ratio": (log_z - step.log_z_combined(self.settings.negatives)).exp().mean(),
        }

    def beta(self) -> float:
        """β_t of this epoch (Eq. 12 and the text below it): 0 in the first, `beta_max` from the horizon on."""
        if self.epoch == 0:  # there are no previous networks, whichever number the first epoch has
            return 0.0
        return self.settings.beta_max * self._rise(self.epoch + self.settings.beta_counts_from)

    def _alpha(self) -> float:
        return self.settings.alpha * (self._rise(self.epoch) if self.settings.alpha_schedule == "cosine" else 1.0)

    def _rise(self, epoch: int) -> float:
        """Half a cosine from 0 at epoch 0 to 1 at the horizon."""
        horizon = self.settings.beta_horizon_epochs or self.context.epochs
        return 0.5 - 0.5 * math.cos(math.pi * min(1.0, epoch / horizon))

    def _rho(self) -> float:
        """ρ of this epoch."""
        rho = self.settings.rho
        for change in self.settings.rho_schedule:
            # The margin lets a fraction written with few digits, such as 0.6667, hit the epoch that it means.
            if self.epoch + 1e-3 * self.context.epochs >= change.from_fraction * self.context.epochs:
                rho = change.value
        return rho

    def get_extra_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]


class _Step:
    """The quantities of one step, each computed when first asked for. Everything is detached.

    "Z" is what the networks estimate: with `amortize: negatives`, the partition function without the pair itself.
    """

    def __init__(self, objective: AmortizedObjective, features: Features) -> None:
        self.features = features
        self.image, self.text = features.image_features.detach(), features.text_features.detach()
        self._objective, self._settings = objective, objective.settings
        self._pairs: dict[str, Pairs] = {}

    def pairs(self, negatives: str) -> Pairs:
        """The pairs with their `global` or `local` negatives."""
        context = self._objective.context
        key = negatives if context.world_size > 1 else "global"
        if key not in self._pairs:
            self._pairs[key] = Pairs(self.features, context, key)
        return self._pairs[key]

    def network(self, networks: Networks) -> Tensor:
        """(2, b) log λ of `networks`."""
        return Amortization.estimate(networks, self.image, self.text)

    @cached_property
    def _previous(self) -> Tensor:
        return self.network(self._objective.amortization.previous)

    def log_z(self, negatives: str) -> Tensor:
        """(2, b) log Z of this batch."""
        pairs = self.pairs(negatives)
        if self._settings.amortize == "negatives":
            return pairs.log_negatives
        return pairs.with_positive(pairs.log_negatives, self._settings.positive_weight)

    def log_z_combined(self, negatives: str) -> Tensor:
        """(2, b) log Z_comb (Eq. 12)."""
        log_z, beta = self.log_z(negatives), self._objective.beta()
        if beta == 0.0:
            return log_z
        if beta == 1.0:  # log(1 - β) is -∞, which math.log1p refuses
            return self._previous
        return torch.logaddexp(self._previous + math.log(beta), log_z + math.log1p(-beta))

    def log_lambda(self) -> Tensor:
        """(2, b) log λ of stage II."""
        if self._settings.normalizer == "combined":
            estimate = self.log_z_combined(self._settings.negatives)
        else:
            estimate = self.network(self._objective.amortization.target)
        if self._settings.amortize == "all":
            return estimate
        return self.pairs(self._settings.negatives).with_positive(estimate, self._settings.positive_weight)


def _seed(seed: int, epoch: int) -> int:
    """One number for (seed, epoch) that differs from those of neighboring seeds and epochs."""
    return (seed * 1_000_003 + epoch * 7_919 + 17) % 2**63
