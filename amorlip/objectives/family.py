"""The loss that CLIP, AmorLIP, SogCLR, FastCLIP and NeuCLIP share; they differ in their estimate λ of Z.

    L = -mean_i 2 c_i τ s_ii + mean_i Σ_j w_ij exp(τ s_ij - log λ^I_i) + mean_j Σ_i w_ij exp(τ s_ij - log λ^T_j)

with λ and c constant (AmorLIP's Eq. 6 and 11 have c = 1). Given λ it is a sum over pairs, so it is computed in blocks
of rows, each of them once for the loss and its gradient. Every rank computes the terms of its own images with all
texts and of its own texts with all images; that is the whole gradient of its own features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amorlip.objectives.base import Features
from amorlip.objectives.collectives import gather
from amorlip.objectives.similarities import Logits, Pairs, diagonal


def contrast(features: Features, pairs: Pairs, log_lambda: Tensor, coefficients: Tensor | float = 2.0) -> Tensor:
    """L () of the batch, with its gradient in the features and τ.

    `log_lambda` (2, b) belongs to this rank's images and texts; `coefficients` (b,) or a number is c^I_i + c^T_i.
    On several ranks the value and the gradient in τ are this rank's share: their mean over ranks is the batch's.
    """
    if not isinstance(coefficients, Tensor):
        coefficients = log_lambda.new_full(log_lambda.shape[1:], coefficients)
    arguments = (pairs, log_lambda.detach(), coefficients.detach())
    return _Contrast.apply(features.image_features, features.text_features, features.logit_scale, *arguments)


def infonce_bound(loss: Tensor, log_lambda: Tensor) -> Tensor:
    """The upper bound of the symmetric InfoNCE loss that `contrast`'s value L implies: equal to it where λ = Z.

    From log Z ≤ log λ + Z/λ - 1. In nats per direction, so that all methods can be drawn on one axis.
    """
    return 0.5 * (loss.detach() + log_lambda.mean(1).sum()) - 1.0


class _Contrast(torch.autograd.Function):
    """Gradients are computed with the loss, from the same logits."""

    @staticmethod
    def forward(ctx, image, text, logit_scale, pairs: Pairs, log_lambda: Tensor, coefficients: Tensor) -> Tensor:
        loss, grad_image, grad_text, grad_scale = _loss_and_gradients(pairs, log_lambda, coefficients)
        ctx.save_for_backward(grad_image, grad_text, grad_scale)
        return loss

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        grad_image, grad_text, grad_scale = ctx.saved_tensors
        return grad_output * grad_image, grad_output * grad_text, grad_output * grad_scale, None, None, None


def _loss_and_gradients(pairs: Pairs, log_lambda: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
    """L, dL/dimage (b, d), dL/dtext (b, d), dL/dτ ()."""
    local = log_lambda - pairs.log_weight
    if len(pairs.strips) == 1:
        total, to_image, to_text = _strip(pairs.strips[0], local[0], local[1], coefficients, with_keys=True)
    else:
        everywhere = gather(local, pairs.world_size, dim=1)
        total, to_image, _ = _strip(pairs.strips[0], local[0], everywhere[1], coefficients, with_keys=False)
        _, to_text, _ = _strip(pairs.strips[1], local[1], everywhere[0], coefficients, with_keys=False)
    count = len(pairs.image)
    grad_scale = (to_image * pairs.image).sum() / count
    loss = total / count - (coefficients * pairs.positive_logits()).mean()
    scale = pairs.logit_scale / count
    return loss, to_image.mul_(scale), to_text.mul_(scale), grad_scale


def _strip(
    logits: Logits, log_lambda_rows: Tensor, log_lambda_columns: Tensor, coefficients: Tensor, with_keys: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Σ P_ij and, with the positives' coefficients taken off its diagonal, P·keys and Pᵀ·queries.

    P_ij = w_ij (1/λ_i + 1/λ_j) exp(τ s_ij), the derivative of the negative terms by τ s_ij.
    """
    total = logits.queries.new_zeros(())
    to_queries = torch.empty_like(logits.queries)
    to_keys = torch.zeros_like(logits.keys) if with_keys else None
    for rows, block in logits.blocks():
        weights = torch.sub(block, log_lambda_rows[rows, None]).exp_()
        weights += torch.sub(block, log_lambda_columns).exp_()
        total += weights.sum()
        diagonal(weights, logits.offset + rows.start).sub_(coefficients[rows])
        torch.mm(weights, logits.keys, out=to_queries[rows])
        if to_keys is not None:
            to_keys.addmm_(weights.T, logits.queries[rows])
    return total, to_queries, to_keys
