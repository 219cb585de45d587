"""Ranks are those of a stable descending sort."""

from __future__ import annotations

import numpy as np
import torch

from amorlip.evaluation.positions import rank_of


def test_agrees_with_a_stable_sort_also_for_ties():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, size=(200, 17)).astype(np.float32)
    wanted = generator.integers(0, 17, size=200)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [list(order[row]).index(wanted[row]) for row in range(200)]
    assert rank_of(torch.from_numpy(scores), torch.from_numpy(wanted)).tolist() == expected


def test_rank_zero_is_argmax():
    scores = torch.randint(0, 3, (500, 9), generator=torch.Generator().manual_seed(0)).float()
    assert (rank_of(scores, scores.argmax(dim=1)) == 0).all()


def test_constant_scores_give_chance():
    ranks = rank_of(torch.zeros(10, 10), torch.arange(10))
    assert (ranks == 0).float().mean() == 0.1
