"""SigLIP (arXiv 2303.15343): an independent sigmoid for every pair, with a learned logit scale and bias.

Shapes: b pairs of this rank, d width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from amorlip.common.errors import AmorlipError
from amorlip.common.matmul import matmul
from amorlip.config.objectives import SigLip
from amorlip.objectives import base
from amorlip.objectives.base import Context, Features, Loss
from amorlip.objectives.collectives import others
from amorlip.objectives.diagnostics import partition_statistics
from amorlip.objectives.pairs import Pairs, block_rows


class Objective(base.Objective[SigLip]):
    """-1/B Σ_ij log sigmoid(z_ij (τ s_ij + bias)), z_ij = 1 for i = j and -1 otherwise."""

    def compute(self, features: Features) -> Loss:
        if features.logit_bias is None:
            raise AmorlipError("siglip: the model has no logit bias; set recipe.logit_bias_init (the paper: -10)")
        learned = features.image_features, features.text_features, features.logit_scale, features.logit_bias
        loss = _Sigmoids.apply(*learned, self.context)
        diagnostics = {}
        if features.log:
            # the loss has no Z; that of this rank's pairs is logged for comparison with other methods
            pairs = Pairs(features, self.context, "local")
            diagnostics = partition_statistics(pairs, pairs.with_positive(pairs.log_negatives, 1.0))
        return Loss(loss, diagnostics)


class _Sigmoids(torch.autograd.Function):
    """Other ranks' features arrive along a ring, one rank's at a time (SigLIP, section 3.3).

    A rank's loss has the terms of its images with all texts; its gradients are complete for its own features.
    """

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, text: Tensor, logit_scale: Tensor, logit_bias: Tensor, context: Context
    ) -> Tensor:
        image, text = image.detach(), text.detach()
        total, to_image, to_text, to_bias = _own_terms(image, text, logit_scale, logit_bias)
        for images, texts in others(torch.stack([image, text]), context.rank, context.world_size):
            part = _negative_terms(image, texts, logit_scale, logit_bias)
            total, to_image, to_bias = total + part[0], to_image + part[1], to_bias + part[2]
            # only the gradient: the loss and the bias of these terms belong to the rank of the images
            to_text = to_text + _negative_terms(text, images, logit_scale, logit_bias)[1]
        # the loss depends on τ and x_i through τ<x_i, y_j>: dL/dτ = Σ_i <x_i, dL/d(τ x_i)>
        to_scale = (to_image * image).sum()
        ctx.save_for_backward(to_image * logit_scale, to_text * logit_scale, to_scale, to_bias)
        ctx.count = len(image)
        return total / len(image)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad_outputs[0] / ctx.count * gradient for gradient in ctx.saved_tensors), None


def _own_terms(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Sum over this rank's b² pairs (), and its derivatives in τ·images (b, d), τ·texts (b, d) and the bias ()."""
    total, to_image, to_bias = image.new_zeros(()), torch.empty_like(image), image.new_zeros(())
    to_text = torch.zeros_like(text)
    for rows, logits in _blocks(image, text, scale, bias):
        # -log σ(-a) for all, and for pairs -log σ(a) = -log σ(-a) - a
        total -= logsigmoid(-logits).sum() + logits.diagonal(rows.start)[: len(logits)].sum()
        weights = logits.sigmoid_()  # derivative in a: σ(a), and σ(a) - 1 for pairs
        weights.diagonal(rows.start)[: len(weights)].sub_(1.0)
        to_bias += weights.sum()
        to_image[rows] = matmul(weights, text)
        to_text += matmul(weights.T, image[rows])
    return total, to_image, to_text, to_bias


def _negative_terms(queries: Tensor, keys: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over negatives alone (), and its derivatives in τ·queries (b, d) and in the bias ()."""
    total, to_queries, to_bias = queries.new_zeros(()), torch.empty_like(queries), queries.new_zeros(())
    for rows, logits in _blocks(queries, keys, scale, bias):
        total -= logsigmoid(-logits).sum()
        weights = logits.sigmoid_()
        to_bias += weights.sum()
        to_queries[rows] = matmul(weights, keys)
    return total, to_queries, to_bias


def _blocks(queries: Tensor, keys: Tensor, scale: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows with their logits τ s_ij + bias (rows, b)."""
    size = block_rows(len(keys), keys.device)
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        yield rows, matmul(queries[rows] * scale, keys.T).add_(bias)
