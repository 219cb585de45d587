"""Features of past pairs, and Z over them: a control for AmorLIP's networks, which should learn the same number.

Shapes: b pairs of this rank, B pairs of all ranks, m rows of the memory, d width of the features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from amorlip.common.matmul import matmul
from amorlip.objectives.collectives import gather
from amorlip.objectives.pairs import Pairs, block_rows

EMPTY = -1
"""Sample id of a row without a pair."""


class FeatureMemory(nn.Module):
    """Pairs of all ranks, as they were when they were encoded; equal on every rank.

    By default the last m pairs, one that came twice in two rows. With `row_of_each_pair` the newest features of each
    pair: row i is that of sample id i.
    """

    features: Tensor
    sample_ids: Tensor

    def __init__(self, size: int, width: int, world_size: int, *, row_of_each_pair: bool = False) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(2, size, width))  # images, texts
        self.register_buffer("sample_ids", torch.full((size,), EMPTY))
        self.world_size, self.row_of_each_pair, self.added = world_size, row_of_each_pair, 0

    @torch.no_grad()
    def add(self, image: Tensor, text: Tensor, sample_ids: Tensor) -> None:
        """Keep this rank's pairs (b, d) and those of the other ranks, in their own rows or in place of the oldest."""
        everyone = gather(torch.stack([image, text]), self.world_size, dim=1)  # (2, B, d)
        ids = gather(sample_ids, self.world_size)
        oldest = (self.added + torch.arange(len(ids), device=ids.device)) % len(self.sample_ids)
        rows = ids if self.row_of_each_pair else oldest
        self.features[:, rows] = everyone.to(self.features.dtype)
        self.sample_ids[rows] = ids
        self.added += len(ids)

    @torch.no_grad()
    def log_negatives(self, pairs: Pairs, sample_ids: Tensor) -> Tensor:
        """(2, b) log Σ_k e^(τ<q_i, k>) over the memory without the pair i itself, times (B - 1) over their number."""
        filled = len(self.sample_ids) if self.row_of_each_pair else min(self.added, len(self.sample_ids))
        images, texts = self.features[:, :filled].to(pairs.image.dtype)
        parts, size = [], block_rows(filled, images.device)
        for start in range(0, len(sample_ids), size):
            part = slice(start, start + size)
            left_out = sample_ids[part, None] == self.sample_ids[:filled]  # (rows, m)
            if self.row_of_each_pair:
                left_out = left_out | (self.sample_ids == EMPTY)
            count = (filled - left_out.sum(1)).to(pairs.image.dtype)
            sums = [
                matmul(queries[part], keys.T).mul_(pairs.logit_scale).masked_fill_(left_out, -math.inf).logsumexp(1)
                for queries, keys in ((pairs.image, texts), (pairs.text, images))
            ]
            parts.append(torch.stack(sums) - count.log())
        return torch.cat(parts, dim=1) + math.log(pairs.others)

    def get_extra_state(self) -> dict[str, Any]:
        """Part of `state_dict()`: how many pairs were added, which says where the oldest is."""
        return {"added": self.added}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """See `get_extra_state`."""
        self.added = state["added"]
