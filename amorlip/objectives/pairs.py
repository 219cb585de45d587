"""Logits between the pairs of a batch, in blocks, and their log-sums: log Z of the batch.

Shapes: b pairs of this rank, B pairs of the batch they are contrasted with (b = B on one rank), d width of the
features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from amorlip.common.matmul import matmul
from amorlip.objectives.base import Context, Features
from amorlip.objectives.collectives import gather

BLOCK_ELEMENTS = 2**22
"""Largest number of logits held at once. A matrix of at most this size is computed once and kept for the step."""
LEAST_ROWS_ON_GPU = 512
"""Of a block: with fewer rows a GPU is not busy, and it has memory for more logits."""


class Logits:
    """A_ij = τ<q_i, k_j>, i < b, j < B, and -∞ where k_j is the pair of q_i, j = offset + i; detached."""

    def __init__(self, queries: Tensor, keys: Tensor, logit_scale: Tensor, offset: int) -> None:
        """`queries` (b, d), `keys` (B, d)."""
        self.queries, self.keys = queries, keys
        self._logit_scale, self._offset = logit_scale, offset
        self._rows = min(len(queries), block_rows(len(keys), keys.device))
        self._whole: Tensor | None = None

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of rows with their logits (rows, B). Blocks are read-only, as one may be returned again."""
        if self._rows == len(self.queries):
            if self._whole is None:
                self._whole = self._block(slice(0, self._rows))
            yield slice(0, self._rows), self._whole
            return
        for start in range(0, len(self.queries), self._rows):
            rows = slice(start, min(start + self._rows, len(self.queries)))
            yield rows, self._block(rows)

    def _block(self, rows: slice) -> Tensor:
        logits = matmul(self.queries[rows], self.keys.T).mul_(self._logit_scale)  # (rows, B)
        # e^-∞ = 0 takes the pair itself out of every sum; methods add it back with their own weight w_ii
        logits.diagonal(self._offset + rows.start)[: len(logits)].fill_(-math.inf)
        return logits


def block_rows(columns: int, device: torch.device) -> int:
    """How many rows of logits a block has, at most, if each row has so many `columns`."""
    return max(LEAST_ROWS_ON_GPU if device.type == "cuda" else 1, BLOCK_ELEMENTS // columns)


class Pairs:
    """The pairs of this rank and the batch they are contrasted with; detached.

    With negatives `global` that is the batch of all ranks, whose features are exchanged once. With `local` it is this
    rank's part: nothing is exchanged, and sums over its b - 1 negatives are scaled by (B-1)/(b-1), which gives them the
    expectation of the global sums.
    """

    def __init__(self, features: Features, context: Context, negatives: str = "global") -> None:
        self.image = features.image_features.detach()
        self.text = features.text_features.detach()
        self.logit_scale = features.logit_scale.detach()
        self.world_size = context.world_size if negatives == "global" else 1
        self.others = len(self.image) * context.world_size - 1
        # 0 with global negatives
        self.log_weight = math.log(self.others / (len(self.image) * self.world_size - 1))
        self.strips = self._strips(context.rank)

    def _strips(self, rank: int) -> list[Logits]:
        """One matrix on one rank; else this rank's images with all texts, and its texts with all images."""
        if self.world_size == 1:
            return [Logits(self.image, self.text, self.logit_scale, 0)]
        images, texts = gather(torch.stack([self.image, self.text]), self.world_size, dim=1)  # (B, d) each
        offset = rank * len(self.image)
        return [
            Logits(self.image, texts, self.logit_scale, offset),
            Logits(self.text, images, self.logit_scale, offset),
        ]

    @cached_property
    def positive_logits(self) -> Tensor:
        """(b,) τ s_ii."""
        return self.logit_scale * (self.image * self.text).sum(-1)

    @cached_property
    def log_negatives(self) -> Tensor:
        """(2, b) log Σ_{j≠i} exp(τ s_ij): over the texts for this rank's images, over the images for its texts."""
        if len(self.strips) == 2:
            return torch.stack([_log_sum_rows(logits) for logits in self.strips])
        return torch.stack(_log_sums(self.strips[0])) + self.log_weight

    def with_positive(self, log_negatives: Tensor, positive_weight: float) -> Tensor:
        """log(e^log_negatives + w_ii exp(τ s_ii)) (2, b), given `log_negatives` (2, b) and w_ii = `positive_weight`."""
        if positive_weight == 0.0:
            return log_negatives
        return torch.logaddexp(log_negatives, self.positive_logits + math.log(positive_weight))


def _log_sum_rows(logits: Logits) -> Tensor:
    """(b,)."""
    return torch.cat([block.logsumexp(1) for _, block in logits.blocks()])


def _log_sums(logits: Logits) -> tuple[Tensor, Tensor]:
    """Log-sums over each row (b,) and over each column (B,), in one pass."""
    rows: list[Tensor] = []
    columns: Tensor | None = None
    for _, block in logits.blocks():
        rows.append(block.logsumexp(1))
        part = block.logsumexp(0)
        columns = part if columns is None else torch.logaddexp(columns, part)
    assert columns is not None  # there is at least one block
    return torch.cat(rows), columns
