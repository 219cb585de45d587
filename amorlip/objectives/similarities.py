"""Logits between the pairs of a batch, in blocks, and their log-sums.

Shapes: b pairs of this rank, B pairs of the batch it is contrasted with (b = B on one rank), d features' width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from amorlip.objectives.base import Context, Features
from amorlip.objectives.collectives import gather

BLOCK_ELEMENTS = 2**22
"""Largest number of logits held at once; a matrix of this size or less is computed once and kept for the step."""


class Logits:
    """A_ij = τ<q_i, k_j> + log(w_ij / w), i < b, j < B, where w is the weight of j ≠ i; detached."""

    def __init__(self, queries: Tensor, keys: Tensor, logit_scale: Tensor, offset: int, log_diagonal: float) -> None:
        """`queries` (b, d), `keys` (B, d); query i's own key is row offset + i, and its entry gets `log_diagonal`."""
        self.queries, self.keys, self.offset = queries, keys, offset
        self._scaled = queries * logit_scale
        self._log_diagonal = log_diagonal
        self._rows = max(1, min(len(queries), BLOCK_ELEMENTS // len(keys)))
        self._whole: Tensor | None = None

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of rows with their logits; a block is read-only, as it may be served again."""
        if self._rows == len(self.queries):
            if self._whole is None:
                self._whole = self._block(slice(0, self._rows))
            yield slice(0, self._rows), self._whole
            return
        for start in range(0, len(self.queries), self._rows):
            rows = slice(start, min(start + self._rows, len(self.queries)))
            yield rows, self._block(rows)

    def _block(self, rows: slice) -> Tensor:
        logits = self._scaled[rows] @ self.keys.T
        if self._log_diagonal != 0.0:
            diagonal(logits, self.offset + rows.start).add_(self._log_diagonal)
        return logits


def diagonal(block: Tensor, offset: int) -> Tensor:
    """View of a block's entries whose column is the row's own pair."""
    return block.diagonal(offset)[: len(block)]


class Pairs:
    """The pairs of this rank and the batch they are contrasted with.

    Z^I_i = Σ_j w_ij exp(τ s_ij) and Z^T_j = Σ_i w_ij exp(τ s_ij), with w_ii = `positive_weight`. With negatives
    `global` the sums are over the batch of all ranks, whose features are exchanged once. With `local` they are over
    this rank's part, w_ij = (B-1)/(b-1) for j ≠ i so that the expectation is that of the global sum, and nothing is
    exchanged.
    """

    def __init__(
        self, features: Features, context: Context, *, positive_weight: float = 1.0, negatives: str = "global"
    ) -> None:
        self.image = features.image_features.detach()
        self.text = features.text_features.detach()
        self.logit_scale = features.logit_scale.detach()
        self.world_size = context.world_size if negatives == "global" else 1
        others = len(self.image) * self.world_size - 1
        self.log_weight = math.log((len(self.image) * context.world_size - 1) / others)
        diagonal_weight = math.log(positive_weight) - self.log_weight if positive_weight > 0 else -math.inf
        self.strips = self._strips(context.rank if negatives == "global" else 0, diagonal_weight)

    def _strips(self, rank: int, log_diagonal: float) -> list[Logits]:
        """One matrix on one rank; otherwise this rank's images with all texts, and its texts with all images."""
        if self.world_size == 1:
            return [Logits(self.image, self.text, self.logit_scale, 0, log_diagonal)]
        images, texts = gather(self.stacked, self.world_size, dim=1)
        offset = rank * len(self.image)
        return [
            Logits(self.image, texts, self.logit_scale, offset, log_diagonal),
            Logits(self.text, images, self.logit_scale, offset, log_diagonal),
        ]

    @property
    def stacked(self) -> Tensor:
        """(2, b, d): images, texts."""
        return torch.stack([self.image, self.text])

    def positive_logits(self) -> Tensor:
        """(b,) τ s_ii."""
        return self.logit_scale * (self.image * self.text).sum(-1)

    def log_partitions(self) -> Tensor:
        """(2, b) log Z^I_i and log Z^T_i of this rank's pairs."""
        if len(self.strips) == 2:
            return torch.stack([_log_sum_rows(logits) for logits in self.strips]) + self.log_weight
        return torch.stack(_log_sums(self.strips[0])) + self.log_weight


def _log_sum_rows(logits: Logits) -> Tensor:
    return torch.cat([block.logsumexp(1) for _, block in logits.blocks()])


def _log_sums(logits: Logits) -> tuple[Tensor, Tensor]:
    """Log-sums over each row and over each column, in one pass."""
    rows, columns = [], None
    for _, block in logits.blocks():
        rows.append(block.logsumexp(1))
        part = block.logsumexp(0)
        columns = part if columns is None else torch.logaddexp(columns, part)
    return torch.cat(rows), columns
