"""NeuCLIP (arXiv 2511.08417): log u_i is the log-mean-exp over learned prototypes of the other modality."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from amorlip.common.matmul import linear
from amorlip.config.objectives import NeuClip
from amorlip.objectives import base
from amorlip.objectives.base import Context, Features, Loss
from amorlip.objectives.collectives import average_gradients, gather
from amorlip.objectives.global_contrastive import add_constant, log_mean_negatives, ratio_term
from amorlip.objectives.pairs import Pairs, block_rows


class Objective(base.Objective[NeuClip]):
    """½T Σ_l mean_i [e^{-α_i}(ε + g_i) + α_i - 1] + ρT: half of the paper's, which makes ρ comparable with FastCLIP's.

    α_i = log(ε + mean_m exp(τ(cos(x_i, W_m) - s_ii))). Each step alternates: `t_u` AdaGrad steps on the prototypes W
    with the features fixed, then the encoders' step with α fixed.
    """

    def __init__(self, settings: NeuClip, context: Context) -> None:
        super().__init__(settings, context)
        self.prototypes = nn.Parameter(torch.zeros(2, settings.prototypes, context.embed_dim))
        self.reseeds = 0
        # AdaGrad makes its sums at once, where the prototypes are: not before they are on their device
        self.optimizer: torch.optim.Adagrad | None = None

    def _fresh_optimizer(self) -> torch.optim.Adagrad:
        return torch.optim.Adagrad([self.prototypes], lr=self.settings.lr, foreach=True)

    def compute(self, features: Features) -> Loss:
        pairs = Pairs(features, self.context)
        if self.optimizer is None or features.step % self.settings.reseed_steps == 0:
            self.optimizer = self._reseed(pairs)
        log_g = log_mean_negatives(pairs)
        self._fit(pairs, log_g, self.optimizer)
        with torch.no_grad():
            alpha = torch.cat([self._alpha(pairs, rows) for rows in self._parts(pairs)], dim=1)
        # e^{-α} g is the ratio g/u with u = e^α; ε is in α already
        term = ratio_term(features, pairs, log_g, alpha, eps=0.0)
        rest = 0.5 * (self.settings.eps * (-alpha).exp() + alpha - 1.0).mean(1).sum()
        loss = (term.loss + rest + self.settings.rho) / features.logit_scale
        return Loss(base.with_value(loss, term.infonce_bound), term.diagnostics)

    def _alpha(self, pairs: Pairs, rows: slice) -> Tensor:
        """(2, rows) α of the given rows of this rank's images and texts; differentiable in the prototypes."""
        units = normalize(self.prototypes.to(pairs.image.dtype), dim=-1)  # (2, m, d)
        queries = (pairs.logit_scale * pairs.image[rows], pairs.logit_scale * pairs.text[rows])
        log_sums = [linear(q, u).logsumexp(-1) for q, u in zip(queries, units, strict=True)]
        log_mean = torch.stack(log_sums) - math.log(units.shape[1])
        return add_constant(log_mean - pairs.positive_logits[rows], self.settings.eps)

    def _parts(self, pairs: Pairs) -> list[slice]:
        """Slices of this rank's pairs, so that their logits with all prototypes fit into a block."""
        size = block_rows(self.settings.prototypes, pairs.image.device)
        return [slice(start, start + size) for start in range(0, len(pairs.image), size)]

    def _fit(self, pairs: Pairs, log_g: Tensor, optimizer: torch.optim.Adagrad) -> None:
        """`t_u` AdaGrad steps on Σ_l mean_i [e^{-α_i}(ε + g_i) + α_i - 1], over the pairs of all ranks."""
        log_top = add_constant(log_g, self.settings.eps)
        for _ in range(self.settings.t_u):
            optimizer.zero_grad()
            with torch.enable_grad():
                for rows in self._parts(pairs):
                    alpha = self._alpha(pairs, rows)
                    # its minimum over α_i is at e^α_i = ε + g_i
                    value = (log_top[:, rows] - alpha).exp() + alpha - 1.0
                    (value.sum() / len(pairs.image)).backward()
            average_gradients([self.prototypes], self.context.world_size)
            optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def _reseed(self, pairs: Pairs) -> torch.optim.Adagrad:
        """Replace prototypes by features of the other modality, as many as the global batch has.

        The first batch fills all rows, repeating itself; each later one continues at the row after the last. AdaGrad
        restarts: the new one is returned.
        """
        features = gather(torch.stack([pairs.text, pairs.image]), self.context.world_size, dim=1)  # (2, B, d)
        count, batch = self.prototypes.shape[1], features.shape[1]
        first_row = self.reseeds * batch
        rows = torch.arange(count if self.reseeds == 0 else min(count, batch), device=features.device)
        self.prototypes[:, (first_row + rows) % count] = features[:, rows % batch].to(self.prototypes.dtype)
        self.reseeds += 1
        return self._fresh_optimizer()

    def get_extra_state(self) -> dict[str, Any]:
        return {"reseeds": self.reseeds, "optimizer": None if self.optimizer is None else self.optimizer.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.reseeds, self.optimizer = state["reseeds"], None
        # a checkpoint of step 0 from an earlier version has an AdaGrad, but prototypes of zeros
        if self.reseeds:
            self.optimizer = self._fresh_optimizer()
            self.optimizer.load_state_dict(state["optimizer"])
