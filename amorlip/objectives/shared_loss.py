"""The loss that CLIP, AmorLIP, SogCLR, FastCLIP and NeuCLIP share; they differ in their estimate λ of Z.

    L = -mean_i (c^I_i + c^T_i) τ s_ii + mean_i Σ_j w_ij e^(τ s_ij) / λ^I_i + mean_j Σ_i w_ij e^(τ s_ij) / λ^T_j

with λ and c constant, w_ij = 1 for j ≠ i and w_ii = `positive_weight` (AmorLIP's Eq. 6 and 11 have c = 1). Given λ it
is a sum over pairs, so it is computed in blocks of rows, each of them once for the loss and its gradient. Every rank
computes the terms of its own images with all texts and of its own texts with all images; that is the whole gradient
of its own features, and the backward pass needs no communication.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amorlip.common.matmul import product
from amorlip.objectives.base import Features
from amorlip.objectives.collectives import gather
from amorlip.objectives.similarities import Logits, Pairs


@dataclass
class Normalization:
    """What a method puts into L; all constant."""

    log_lambda: Tensor
    """(2, b) log λ of this rank's images and texts."""
    positive_weight: float = 1.0
    """w_ii."""
    coefficients: Tensor | float = 2.0
    """(b,) or a number: c^I_i + c^T_i."""


def contrast(features: Features, pairs: Pairs, normalization: Normalization) -> Tensor:
    """L () of the batch, with its gradient in the features and τ.

    On several ranks the value and the gradient in τ are this rank's share: their mean over ranks is the batch's.
    """
    return _Contrast.apply(features.image_features, features.text_features, features.logit_scale, pairs, normalization)


def infonce_bound(loss: Tensor, log_lambda: Tensor) -> Tensor:
    """The upper bound of the symmetric InfoNCE loss that the value of L implies (c = 1): equal to it where λ = Z.

    From log Z ≤ log λ + Z/λ - 1. In nats per direction, so that all methods can be drawn on one axis.
    """
    return 0.5 * (loss.detach() + log_lambda.mean(1).sum()) - 1.0


class _Contrast(torch.autograd.Function):
    """Gradients are computed with the loss, from the same logits."""

    @staticmethod
    def forward(ctx, image, text, logit_scale, pairs: Pairs, normalization: Normalization) -> Tensor:
        loss, to_image, to_text, to_scale = _loss_and_gradients(pairs, normalization)
        ctx.save_for_backward(to_image, to_text, pairs.logit_scale / len(pairs.image), to_scale)
        return loss

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        to_image, to_text, scale, to_scale = ctx.saved_tensors
        factor = grad_output * scale
        return factor * to_image, factor * to_text, grad_output * to_scale, None, None


def _loss_and_gradients(pairs: Pairs, normalization: Normalization) -> tuple[Tensor, ...]:
    """L, dL/dimage (b, d) and dL/dtext (b, d), both times b/τ, and dL/dτ ()."""
    log_lambda = normalization.log_lambda.detach()
    total, to_image, to_text = _negatives(pairs, log_lambda - pairs.log_weight)
    own = normalization.positive_weight * (pairs.positive_logits - log_lambda).exp().sum(0)
    pull = (normalization.coefficients - own)[:, None]
    to_image.addcmul_(pull, pairs.text, value=-1)
    to_text.addcmul_(pull, pairs.image, value=-1)
    count = len(pairs.image)
    loss = total / count + (own - normalization.coefficients * pairs.positive_logits).mean()
    to_scale = torch.dot(to_image.flatten(), pairs.image.flatten()) / count
    return loss, to_image, to_text, to_scale


def _negatives(pairs: Pairs, log_lambda: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ P_ij over this rank's images, and P's products with the texts and the images (see `_strip`)."""
    if len(pairs.strips) == 1:
        return _strip(pairs.strips[0], log_lambda[0], log_lambda[1], with_keys=True)
    everywhere = gather(log_lambda, pairs.world_size, dim=1)
    total, to_image, _ = _strip(pairs.strips[0], log_lambda[0], everywhere[1], with_keys=False)
    _, to_text, _ = _strip(pairs.strips[1], log_lambda[1], everywhere[0], with_keys=False)
    return total, to_image, to_text


def _strip(
    logits: Logits, log_lambda_rows: Tensor, log_lambda_columns: Tensor, with_keys: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Σ P_ij, P·keys and, if wanted, Pᵀ·queries, with P_ij = (1/λ_i + 1/λ_j) exp(τ s_ij) for j ≠ i and P_ii = 0."""
    total = logits.queries.new_zeros(())
    to_queries, to_keys = [], None
    for rows, block in logits.blocks():
        weights = torch.sub(block, log_lambda_rows[rows, None]).exp_()
        weights += torch.sub(block, log_lambda_columns).exp_()
        total += weights.sum()
        to_queries.append(product(weights, logits.keys))
        if with_keys:
            part = product(weights.T, logits.queries[rows])
            to_keys = part if to_keys is None else to_keys.add_(part)
    return total, to_queries[0] if len(to_queries) == 1 else torch.cat(to_queries), to_keys
