"""Several processes (ranks) that encode one set together, as after each epoch of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Protocol

import torch
from torch import Tensor


class Share(Protocol):
    """This process's place among `size` ranks. Of a set's batches, rank r encodes r, r + size, r + 2 size, …

    All ranks evaluate the same sets in the same way, so that they meet in the same exchanges.
    """

    @property
    def rank(self) -> int:
        """From 0."""
        ...

    @property
    def size(self) -> int:
        """How many ranks there are."""
        ...

    def exchange(self, work: Callable[[], Tensor]) -> list[Tensor]:
        """What `work` returns on each rank, by rank, on this rank's device: of any shapes, float32."""
        ...


def in_order(parts: Sequence[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Each batch's features, in the order of the set: (b, D), with b = `batch_size` in all but the last.

    parts: for each rank, the features of its batches one after another; a tensor (0,) for a rank that had none.
    """
    of_ranks = [part.split(batch_size) for part in parts]
    for turn in zip_longest(*of_ranks, fillvalue=torch.empty(0)):
        yield from (features for features in turn if len(features))
