"""An objective that is saved and loaded continues bit by bit."""

from __future__ import annotations

import io

import pytest
import torch

from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference

CASES = [
    ("clip", {}),
    ("dcl_rho", {"rho_schedule": [{"from_fraction": 0.5, "value": -8.0}]}),
    ("siglip", {}),
    ("sogclr", {}),
    ("fastclip", {"gamma_horizon_epochs": 2}),
    ("neuclip", {"prototypes": 30, "reseed_steps": 4}),
    ("amorlip_l2log", {}),
    ("amorlip_l2log", {"normalizer": "target", "t_online": 3}),
    ("amorlip_l2log", {"reinitialize": False, "amortize": "negatives"}),
    ("amorlip_l2log", {"estimator": "batch_mean"}),
    ("amorlip_l2log", {"estimator": "memory", "memory_pairs": 60}),
    ("amorlip_l2log", {"estimator": "corpus"}),
    ("amorlip_fdiv", {"divergence": "js"}),
]


def step(objective, number):
    if number % 5 == 0:
        objective.start_epoch(number // 5)
    features = reference.make_features(seed=number, dtype=torch.float32, bias=-10.0)
    features.sample_ids = (torch.arange(24) + 24 * number) % 100
    features.step, features.epoch = number, number // 5
    return reference.gradients(objective(features).loss, features)


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("stop", [3, 5, 7])
def test_resume_is_exact(name, settings, stop):
    straight = registry.create(name, settings, reference.make_context())
    expected = [step(straight, number) for number in range(12)]
    first = registry.create(name, settings, reference.make_context())
    for number in range(stop):
        step(first, number)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = registry.create(name, settings, reference.make_context())
    second.load_state_dict(torch.load(file, weights_only=True))
    for number in range(stop, 12):
        for ours, theirs in zip(step(second, number), expected[number], strict=True):
            assert torch.equal(ours, theirs)
