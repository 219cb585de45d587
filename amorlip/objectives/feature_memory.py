"""Features of past pairs, and Z over them: a control for AmorLIP's networks, which should learn the same number.

Shapes: b pairs of this rank, B pairs of all ranks, m pairs in the memory, d width of the features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from amorlip.common.matmul import matmul
from amorlip.objectives.collectives import gather
from amorlip.objectives.pairs import Pairs, block_rows


class FeatureMemory(nn.Module):
    """The last m pairs of all ranks, as they were when they were encoded; equal on every rank."""

    features: Tensor
    sample_ids: Tensor

    def __init__(self, size: int, width: int, world_size: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(2, size, width))  # images, texts
        self.register_buffer("sample_ids", torch.full((size,), -1))
        self.world_size, self.added = world_size, 0

    @torch.no_grad()
    def add(self, image: Tensor, text: Tensor, sample_ids: Tensor) -> None:
        """Keep this rank's pairs (b, d) and those of the other ranks in place of the oldest."""
        everyone = gather(torch.stack([image, text]), self.world_size, dim=1)  # (2, B, d)
        rows = (self.added + torch.arange(everyone.shape[1], device=everyone.device)) % len(self.sample_ids)
        self.features[:, rows] = everyone.to(self.features.dtype)
        self.sample_ids[rows] = gather(sample_ids, self.world_size)
        self.added += len(rows)

    @torch.no_grad()
    def log_negatives(self, pairs: Pairs, sample_ids: Tensor) -> Tensor:
        """(2, b) log Σ_k e^(τ<q_i, k>) over the memory without the pair i itself, times (B - 1) over their number."""
        filled = min(self.added, len(self.sample_ids))
        images, texts = self.features[:, :filled].to(pairs.image.dtype)
        parts, size = [], block_rows(filled, images.device)
        for start in range(0, len(sample_ids), size):
            part = slice(start, start + size)
            same = sample_ids[part, None] == self.sample_ids[:filled]  # (rows, m)
            count = (filled - same.sum(1)).to(pairs.image.dtype)
            sums = [
                matmul(queries[part], keys.T).mul_(pairs.logit_scale).masked_fill_(same, -math.inf).logsumexp(1)
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
