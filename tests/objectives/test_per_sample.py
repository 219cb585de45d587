"""State per sample that ranks divide comes together again, for any number of ranks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from amorlip.objectives import per_sample
from tests.helpers import objectives_reference as reference

SAMPLES = 11


def context(rank: int, ranks: int):
    return replace(reference.make_context(), samples=SAMPLES, rank=rank, world_size=ranks, batch_size=24)


def divided(whole: torch.Tensor, ranks: int) -> list[torch.Tensor]:
    return [per_sample.own([whole], context(rank, ranks)) for rank in range(ranks)]


@pytest.mark.parametrize("before", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("after", [1, 2, 3, 4, 12])
def test_any_number_of_ranks_to_any_other(before, after):
    whole = torch.arange(2.0 * SAMPLES).reshape(2, SAMPLES)
    parts = divided(whole, before)
    assert {part.shape for part in parts} == {(2, per_sample.columns(SAMPLES, before))}
    moved = [per_sample.own(parts, context(rank, after)) for rank in range(after)]
    for ours, theirs in zip(moved, divided(whole, after), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(per_sample.own(moved, context(0, 1)), whole)


def test_each_sample_has_one_owner():
    parts = divided(torch.zeros(1, SAMPLES), 3)
    assert [int((part == 0).sum()) for part in parts] == [4, 4, 3]
    assert all(part[0, -1] == -math.inf for part in parts)


@pytest.mark.parametrize("samples", [SAMPLES - 4, SAMPLES + 4])
def test_state_of_another_number_of_samples_is_refused(samples):
    with pytest.raises(ValueError, match="is not that of 11 samples"):
        per_sample.own([torch.zeros(2, samples)], context(0, 2))
