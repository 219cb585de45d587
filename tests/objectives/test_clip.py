from __future__ import annotations

import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference


def test_value_and_gradient_are_infonce():
    features = reference.make_features()
    ours = registry.create("clip", {}, reference.make_context())(features)
    expected = reference.infonce(features)
    assert float(ours.loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    assert reference.error(reference.gradients(ours.loss, features), reference.gradients(expected, features)) < 1e-12


def test_float32_at_the_largest_logit_scale():
    features = reference.make_features(tau=100.0, dtype=torch.float32, spread=0.2)
    exact = reference.float64_copy(features)
    ours = reference.gradients(registry.create("clip", {}, reference.make_context())(features).loss, features)
    assert reference.error(ours, reference.gradients(reference.infonce(exact), exact)) < 1e-3


def test_half_precision_features_are_computed_in_float32():
    features = reference.make_features(dtype=torch.bfloat16)
    exact = reference.float64_copy(features)
    objective = registry.create("clip", {}, reference.make_context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(features).loss
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(reference.infonce(exact).detach()), abs=1e-5)


def test_diagnostics_only_when_asked_for():
    features = reference.make_features()
    objective = registry.create("clip", {}, reference.make_context())
    assert objective(features).diagnostics == {}
    features.log = True
    found = objective(features).diagnostics
    log_z = reference.log_partitions(features).detach()
    probabilities = reference.weighted(features, 0.0).detach().softmax(1)
    assert float(found["log_z_mean"]) == pytest.approx(float(log_z.mean()))
    assert float(found["log_z_std"]) == pytest.approx(float(log_z.std(dim=1).mean()))
    expected = float((1 / probabilities.square().sum(1)).mean())
    assert float(found["effective_negatives"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [("klip", {}, "did you mean 'clip'"), ("clip", {"alpha": 1}, "alpha"), ("amorlip_l2log", {"alpa": 1}, "'alpha'")],
)
def test_bad_names_and_keys_are_named(name, values, words):
    with pytest.raises(AmorlipError, match=words):
        registry.create(name, values, reference.make_context())
