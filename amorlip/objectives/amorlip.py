"""AmorLIP's step: fit networks to log Z (stage I), then contrast with the λ they give (stage II).

Equations, algorithm and appendix are those of AmorLIP (arXiv 2505.18983). Shapes: b pairs of this rank.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import Amorlip
from amorlip.objectives import base, collectives
from amorlip.objectives.amorlip_networks import AmortizationNetworks, NetworkPair
from amorlip.objectives.base import Context, Features, Loss
from amorlip.objectives.diagnostics import estimation_error, partition_statistics
from amorlip.objectives.feature_memory import FeatureMemory
from amorlip.objectives.pairs import Pairs
from amorlip.objectives.rho import rho_of_epoch
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound

A = TypeVar("A", bound=Amorlip)


class AmorlipObjective(base.Objective[A]):
    """Algorithm 1 for any amortization objective, which a subclass defines as `divergence`."""

    def __init__(self, settings: A, context: Context) -> None:
        super().__init__(settings, context)
        if settings.negatives == "local" and context.batch_size // context.world_size < 2:
            raise AmorlipError(
                "negatives: local needs at least two pairs per rank; use fewer ranks or negatives: global"
            )
        self.amortization = AmortizationNetworks(
            context.embed_dim,
            max(1, round(settings.f_d * context.embed_dim)),
            # the release multiplies the rate when it creates the optimizer again, at each re-initialization
            lr=settings.lr * (context.world_size if settings.lr_rule == "times_ranks" else 1),
            grad_clip=settings.grad_clip,
            world_size=context.world_size,
        )
        self.epoch = -1
        if settings.estimator == "memory":
            if settings.memory_pairs < context.batch_size:
                raise AmorlipError(
                    f"memory_pairs is {settings.memory_pairs}; it must hold at least a batch ({context.batch_size})"
                )
            size = max(context.batch_size, min(settings.memory_pairs, context.samples))
            self.memory = FeatureMemory(size, context.embed_dim, context.world_size)
        if settings.estimator == "corpus":
            self.corpus_every_steps = settings.corpus_every_steps
            self.memory = FeatureMemory(context.samples, context.embed_dim, context.world_size, row_of_each_pair=True)

    def divergence(self, log_lambda: Tensor, log_z: Tensor) -> Tensor:
        """What stage I minimizes the mean of, elementwise."""
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> None:
        """Keep the target as `previous` and re-initialize, from a seed that all ranks and resumed runs share."""
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
        if self.settings.estimator == "networks":
            self._train_networks(step)
        if self.settings.estimator in ("memory", "corpus"):
            self.memory.add(step.image, step.text, features.sample_ids)
        return self._stage_two(step)

    def take_corpus(self, image: Tensor, text: Tensor, sample_ids: Tensor) -> None:
        """See `base.Objective`."""
        self.memory.add(image, text, sample_ids)

    def _train_networks(self, step: _Step) -> None:
        """Stage I and the update of the target networks, in the steps in which they are due."""
        # counted within the epoch, so that each begins with a fit of its new networks
        within_epoch = step.features.step % self.context.steps_per_epoch
        if within_epoch % self.settings.t_online == 0:
            self._stage_one(step, first=within_epoch == 0)
        # before stage II, as in Algorithm 1; the release's run without previous networks does it after
        # (docs/decisions/2026-11-22-released-code.md)
        if within_epoch % self.settings.t_target == 0:
            self.amortization.update_target(self._alpha())

    def _stage_one(self, step: _Step, first: bool) -> None:
        """Fit the online networks to this batch's log Z_comb (Eq. 12)."""
        log_target = step.log_z_combined(self.settings.target_negatives)
        is_new = self.epoch == 0 or self.settings.reinitialize
        if first and is_new and self.settings.bias_init == "data":
            # PyTorch's start is near 0, log Z between 10 and 92: docs/decisions/2026-11-22-bias-init.md
            self.amortization.start_at(collectives.mean(log_target.mean(1), self.context.world_size))
        self.amortization.fit(step.image, step.text, log_target, self.divergence, self.settings.t_lambda)

    def _stage_two(self, step: _Step) -> Loss:
        """L(x, y; λ)/sg(τ) + ρ/τ (sg: no gradient); the logged value is the bound of InfoNCE that L implies."""
        features, log_lambda = step.features, step.log_lambda()
        normalization = Normalization(log_lambda, positive_weight=self.settings.positive_weight)
        contrastive = contrast(features, step.pairs(self.settings.negatives), normalization)
        loss = contrastive / features.logit_scale.detach() + self._rho() / features.logit_scale
        diagnostics = self._diagnostics(step) if features.log else {}
        return Loss(base.with_value(loss, infonce_bound(contrastive, log_lambda)), diagnostics)

    def _diagnostics(self, step: _Step) -> dict[str, Tensor]:
        """The partition's statistics, the estimate's error in log Z (the target networks'), and Z/Z_comb.

        `z_ratio` near 1/(1-β) means that the networks contribute nothing to Z_comb.
        """
        log_z = step.log_z(self.settings.negatives)
        return {
            **partition_statistics(step.pairs(self.settings.negatives), log_z),
            **estimation_error(step.estimate(self.amortization.target), log_z),
            "z_ratio": (log_z - step.log_z_combined(self.settings.negatives)).exp().mean(),
        }

    def beta(self) -> float:
        """β_t = β_T - ½ β_T (1 + cos(π t/T_β)) of epoch t, and β_T from T_β on (below Eq. 12); 0 in the first epoch.

        Algorithm 1 counts t from 1, the release from 0: `beta_counts_from`.
        """
        if self.epoch == 0:  # no previous networks, whether t is 0 or 1
            return 0.0
        return self.settings.beta_max * self._rise(self.epoch + self.settings.beta_counts_from)

    def _alpha(self) -> float:
        return self.settings.alpha * (self._rise(self.epoch) if self.settings.alpha_schedule == "cosine" else 1.0)

    def _rise(self, epoch: int) -> float:
        """½ (1 - cos(π t/T_β)) at t = `epoch`: from 0 to 1 at the horizon."""
        horizon = self.settings.beta_horizon_epochs or self.context.epochs
        return 0.5 - 0.5 * math.cos(math.pi * min(1.0, epoch / horizon))

    def _rho(self) -> float:
        """ρ of this epoch."""
        return rho_of_epoch(self.settings.rho, self.settings.rho_schedule, self.epoch, self.context.epochs)

    def get_extra_state(self) -> dict[str, Any]:
        """Part of `state_dict()`: the epoch, which decides whether a resumed one has begun."""
        return {"epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """See `get_extra_state`."""
        self.epoch = state["epoch"]


class _Step:
    """The quantities of one step, each computed when first used, without gradients.

    "Z" is what the networks estimate: with `amortize: negatives`, the partition function without the pair itself.
    """

    def __init__(self, objective: AmorlipObjective, features: Features) -> None:
        self.features = features
        self.image, self.text = features.image_features.detach(), features.text_features.detach()  # (b, d)
        self._objective, self._settings = objective, objective.settings
        self._pairs: dict[str, Pairs] = {}

    def pairs(self, negatives: str) -> Pairs:
        """The pairs with their `global` or `local` negatives."""
        context = self._objective.context
        key = negatives if context.world_size > 1 else "global"
        if key not in self._pairs:
            self._pairs[key] = Pairs(self.features, context, key)
        return self._pairs[key]

    def estimate(self, networks: NetworkPair) -> Tensor:
        """(2, b) log λ of `networks`, or of what `estimator` puts in their place."""
        if self._settings.estimator == "networks":
            return AmortizationNetworks.estimate(networks, self.image, self.text)
        return self._log_control

    @cached_property
    def _log_control(self) -> Tensor:
        """(2, b) log λ of an estimator without networks."""
        settings, context = self._settings, self._objective.context
        if settings.estimator == "batch_mean":
            log_z = self.log_z(settings.target_negatives)
            return collectives.mean(log_z.mean(1), context.world_size)[:, None].expand_as(log_z)
        pairs = self.pairs(settings.negatives)
        log_negatives = self._objective.memory.log_negatives(pairs, self.features.sample_ids)
        if settings.amortize == "negatives":
            return log_negatives
        return pairs.with_positive(log_negatives, settings.positive_weight)

    @cached_property
    def _log_previous(self) -> Tensor:
        """(2, b) log λ of the previous epoch's target networks, or of what takes their place."""
        return self.estimate(self._objective.amortization.previous)

    def log_z(self, negatives: str) -> Tensor:
        """(2, b) log Z of this batch."""
        pairs = self.pairs(negatives)
        if self._settings.amortize == "negatives":
            return pairs.log_negatives
        return pairs.with_positive(pairs.log_negatives, self._settings.positive_weight)

    def log_z_combined(self, negatives: str) -> Tensor:
        """(2, b) log Z_comb = log(β λ_previous + (1 - β) Z) (Eq. 12)."""
        log_z, beta = self.log_z(negatives), self._objective.beta()
        if beta == 0.0:  # the first epoch has no previous networks
            return log_z
        if beta == 1.0:  # log(1 - β) is -∞, which math.log1p refuses
            return self._log_previous
        return torch.logaddexp(self._log_previous + math.log(beta), log_z + math.log1p(-beta))

    def log_lambda(self) -> Tensor:
        """(2, b) log λ of stage II: Z_comb as in the released command, or the target's estimate as in Algorithm 1.

        Why there are two: docs/decisions/2026-11-22-normalizer.md.
        """
        if self._settings.normalizer == "combined":
            log_lambda = self.log_z_combined(self._settings.negatives)
        else:
            log_lambda = self.estimate(self._objective.amortization.target)
        if self._settings.amortize == "all":
            return log_lambda
        return self.pairs(self._settings.negatives).with_positive(log_lambda, self._settings.positive_weight)


def _seed(seed: int, epoch: int) -> int:
    """One number for (seed, epoch) that differs from those of neighboring seeds and epochs."""
    return (seed * 1_000_003 + epoch * 7_919 + 17) % 2**63
