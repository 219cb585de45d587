"""Ranks of wanted items among scores, with ties broken by position."""

from __future__ import annotations

import torch


def rank_of(scores_BN: torch.Tensor, wanted_B: torch.Tensor) -> torch.Tensor:
    """How many items rank before the wanted one: (B,), int64; 0 is the best.

    An item ranks before it if its score is higher, or equal at a lower position. This is the order of a stable sort,
    and `argmax` gives its first item. With optimistic ties, a model that scores everything alike would be perfect.
    """
    own_B1 = scores_BN.gather(1, wanted_B[:, None])
    earlier_BN = torch.arange(scores_BN.shape[1], device=scores_BN.device) < wanted_B[:, None]
    return ((scores_BN > own_B1) | ((scores_BN == own_B1) & earlier_BN)).sum(dim=1)
