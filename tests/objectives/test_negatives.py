"""Local negatives: right on average for a λ that does not depend on them, biased for `combined`; measured here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference

BATCH, RANKS, DRAWS = 64, 4, 600


def local_objective(normalizer):
    """A rank's objective in a step without stage I, as if three more ranks existed."""
    settings = {"negatives": "local", "normalizer": normalizer, "t_online": 100, "t_target": 100, "rho": 0.0}
    context = reference.make_context(BATCH, steps_per_epoch=200, world_size=RANKS)
    objective = registry.create("amorlip_l2log", settings, context).double()
    objective.start_epoch(0)
    return objective


def deviation(normalizer, tau=14.3):
    """Mean gradient over random partitions of one batch, relative to that with global negatives."""
    objective = local_objective(normalizer)
    whole = replace(reference.make_features(BATCH, tau=tau), step=1)
    single = replace(objective.context, world_size=1)
    globally = registry.create("amorlip_l2log", objective.settings.model_dump(), single).double()
    globally.start_epoch(0)
    expected = reference.gradients(globally(whole).loss, whole)
    total = [torch.zeros_like(gradient) for gradient in expected]
    generator = torch.Generator().manual_seed(0)
    for _ in range(DRAWS):
        for rows in torch.randperm(BATCH, generator=generator).chunk(RANKS):
            part = replace(
                whole,
                image_features=whole.image_features[rows].detach().requires_grad_(),
                text_features=whole.text_features[rows].detach().requires_grad_(),
            )
            image, text, scale = reference.gradients(objective(part).loss, part)
            total[0].index_add_(0, rows, image)
            total[1].index_add_(0, rows, text)
            total[2] += scale
    return reference.error([gradient / DRAWS / RANKS for gradient in total], expected)


@pytest.mark.parametrize("tau", [14.3, 40.0])
def test_target_is_unbiased(tau):
    """What is left is the noise of 600 draws."""
    assert deviation("target", tau) < 0.06


@pytest.mark.parametrize(("tau", "least"), [(14.3, 0.08), (40.0, 1.0)])
def test_combined_is_biased(tau, least):
    """By 10% of the gradient's norm at τ = 14.3, by 150% at 40 (16 of 64 pairs per rank)."""
    assert deviation("combined", tau) > least


@pytest.mark.parametrize("normalizer", ["combined", "target"])
def test_each_rank_alone_sees_part_of_the_negatives(normalizer):
    """A partition's gradient is not that of the whole batch: only its mean is, and only with `target`."""
    objective = local_objective(normalizer)
    whole = replace(reference.make_features(BATCH), step=1)
    part = replace(
        whole,
        image_features=whole.image_features[:16].detach().requires_grad_(),
        text_features=whole.text_features[:16].detach().requires_grad_(),
    )
    single = registry.create(
        "amorlip_l2log", objective.settings.model_dump(), replace(objective.context, world_size=1)
    ).double()
    single.start_epoch(0)
    expected = reference.gradients(single(whole).loss, whole)[0][:16]
    found = reference.gradients(objective(part).loss, part)[0] / RANKS
    assert reference.error([found], [expected]) > 0.1
