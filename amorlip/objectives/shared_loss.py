"""The loss that CLIP, AmorLIP, SogCLR, FastCLIP and NeuCLIP share; they differ in their estimate λ of Z.

    L = -mean_i (c^I_i + c^T_i) τ s_ii + mean_i Σ_j w_ij e^(τ s_ij) / λ^I_i + mean_j Σ_i w_ij e^(τ s_ij) / λ^T_j

with λ and c constant, w_ij = 1 for j ≠ i and w_ii = `positive_weight` (AmorLIP's Eq. 6 and 11 have c = 1). Given λ, L
is a sum over pairs. It is computed in blocks of rows, each used once for both the loss and its gradient, so no B × B
matrix has to be in memory. Every rank computes the terms of its own images with all texts and of its own texts with
all images. That is the whole gradient of its own features, so the backward pass needs no communication.

Shapes: b pairs of this rank, B pairs of the batch they are contrasted with, d width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amorlip.common.matmul import matmul
from amorlip.objectives.base import Features
from amorlip.objectives.collectives import gather
from amorlip.objectives.pairs import Logits, Pairs


@dataclass
class Normalization:
    """What a method puts into L; none of it gets a gradient."""

    log_lambda: Tensor
    """(2, b) log λ of this rank's images and texts."""
    positive_weight: float = 1.0
    """w_ii."""
    coefficients: Tensor | float = 2.0
    """(b,) or a number: c^I_i + c^T_i."""


def contrast(features: Features, pairs: Pairs, normalization: Normalization) -> Tensor:
    """L () of the batch, with its gradient in the features and τ.

    On several ranks the value and the gradient in τ are this rank's part: their mean over ranks is the batch's.
    """
    return _Contrast.apply(features.image_features, features.text_features, features.logit_scale, pairs, normalization)


def infonce_bound(loss: Tensor, log_lambda: Tensor) -> Tensor:
    """Upper bound of the symmetric InfoNCE loss from the value of L (for c = 1); equal to InfoNCE where λ = Z.

    From log Z ≤ log λ + Z/λ - 1. In nats per direction, so that all methods share one axis.
    """
    return 0.5 * (loss.detach() + log_lambda.mean(1).sum()) - 1.0


class _Contrast(torch.autograd.Function):
    """The gradients are computed in the forward pass, from the same logits as the loss."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, text: Tensor, logit_scale: Tensor, pairs: Pairs, normalization: Normalization
    ) -> Tensor:
        # autograd tracks the three tensors; their values are in `pairs`, detached
        loss, to_image, to_text, to_scale = _loss_and_gradients(pairs, normalization)
        ctx.save_for_backward(to_image, to_text, pairs.logit_scale / len(pairs.image), to_scale)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        to_image, to_text, scale, to_scale = ctx.saved_tensors
        factor = grad_outputs[0] * scale
        return factor * to_image, factor * to_text, grad_outputs[0] * to_scale, None, None


def _loss_and_gradients(pairs: Pairs, normalization: Normalization) -> tuple[Tensor, ...]:
    """L (), (b/τ) dL/dimage (b, d), (b/τ) dL/dtext (b, d) and dL/dτ ()."""
    log_lambda = normalization.log_lambda.detach()
    # local negatives are weighted by (B-1)/(b-1): the same as a λ that is smaller by this factor
    total, to_image, to_text = _negatives(pairs, log_lambda - pairs.log_weight)
    # (b,) the pair's own terms: w_ii (1/λ^I_i + 1/λ^T_i) e^(τ s_ii)
    own = normalization.positive_weight * (pairs.positive_logits - log_lambda).exp().sum(0)
    # (b/τ) dL/dx_i = Σ_{j≠i} P_ij y_j - (c_i - own_i) y_i, likewise for the texts
    pull = (normalization.coefficients - own)[:, None]
    to_image.addcmul_(pull, pairs.text, value=-1)
    to_text.addcmul_(pull, pairs.image, value=-1)
    count = len(pairs.image)
    loss = total / count + (own - normalization.coefficients * pairs.positive_logits).mean()
    # L depends on τ and x_i only through τ<x_i, y_j>, so dL/dτ = Σ_i <x_i, dL/dx_i> / τ
    to_scale = torch.dot(to_image.flatten(), pairs.image.flatten()) / count
    return loss, to_image, to_text, to_scale


def _negatives(pairs: Pairs, log_lambda: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ P_ij over this rank's images i, P·texts (b, d) and Pᵀ·images (b, d), with P as in `_strip`."""
    if len(pairs.strips) == 1:
        return _strip(pairs.strips[0], log_lambda[0], log_lambda[1])
    everywhere = gather(log_lambda, pairs.world_size, dim=1)  # (2, B)
    total, to_image = _rows_of_strip(pairs.strips[0], log_lambda[0], everywhere[1])
    _, to_text = _rows_of_strip(pairs.strips[1], log_lambda[1], everywhere[0])
    return total, to_image, to_text


def _strip(logits: Logits, log_lambda_rows: Tensor, log_lambda_columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ P_ij (), P·keys (b, d) and Pᵀ·queries (B, d): P_ij = (1/λ_i + 1/λ_j) e^(τ s_ij) for j ≠ i, and P_ii = 0."""
    total, to_queries, to_keys = logits.queries.new_zeros(()), [], None
    for rows, weights in _weights(logits, log_lambda_rows, log_lambda_columns):
        total += weights.sum()
        to_queries.append(matmul(weights, logits.keys))
        part = matmul(weights.T, logits.queries[rows])
        to_keys = part if to_keys is None else to_keys.add_(part)
    assert to_keys is not None  # there is at least one block
    return total, _joined(to_queries), to_keys


def _rows_of_strip(logits: Logits, log_lambda_rows: Tensor, log_lambda_columns: Tensor) -> tuple[Tensor, Tensor]:
    """The first two of `_strip`, for keys that are other ranks' as well: those compute their own gradients."""
    total, to_queries = logits.queries.new_zeros(()), []
    for _, weights in _weights(logits, log_lambda_rows, log_lambda_columns):
        total += weights.sum()
        to_queries.append(matmul(weights, logits.keys))
    return total, _joined(to_queries)


def _weights(logits: Logits, log_lambda_rows: Tensor, log_lambda_columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows with their P (rows, B); e^(τ s_ij - log λ) is finite where e^(τ s_ij) overflows."""
    for rows, block in logits.blocks():
        weights = torch.sub(block, log_lambda_rows[rows, None]).exp_()
        weights += torch.sub(block, log_lambda_columns).exp_()
        yield rows, weights


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
