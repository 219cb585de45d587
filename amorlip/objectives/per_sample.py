"""State with a column for every training sample, divided over the ranks: rank r of w owns the ids r, r + w, …

Divided, it has one more column than the most that a rank owns: what is written there is not kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from amorlip.objectives.base import Context


def columns(samples: int, ranks: int) -> int:
    """Of each rank's part."""
    return samples if ranks == 1 else -(-samples // ranks) + 1


def own(parts: Sequence[Tensor], context: Context) -> Tensor:
    """This rank's part of state that `len(parts)` ranks have saved; -∞ where there is no sample.

    Raises ValueError if it is of another number of samples.
    """
    if any(part.shape[-1] != columns(context.samples, len(parts)) for part in parts):
        raise ValueError(f"its state per sample is not that of {context.samples} samples")
    if len(parts) == context.world_size:
        return parts[context.rank]
    found = parts[0].new_full((*parts[0].shape[:-1], columns(context.samples, context.world_size)), -math.inf)
    ids = torch.arange(context.rank, context.samples, context.world_size)
    for rank, part in enumerate(parts):
        places = torch.nonzero(ids % len(parts) == rank).flatten()
        found[..., places] = part[..., ids[places] // len(parts)]
    return found
