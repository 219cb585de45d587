from __future__ import annotations

import pytest
import torch
from torch.nn.functional import logsigmoid

from amorlip.common.errors import AmorlipError
from amorlip.objectives import pairs, registry
from tests.helpers import objectives_reference as reference


def formula(features):
    logits = reference.logits(features) + features.logit_bias
    signs = 2 * torch.eye(len(logits), dtype=logits.dtype) - 1
    return -logsigmoid(signs * logits).sum() / len(logits)


@pytest.mark.parametrize("elements", [2**22, 24 * 5, 1])
def test_loss_and_gradients_are_the_formulas(monkeypatch, elements):
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", elements)
    features = reference.make_features(tau=10.0, bias=-10.0)
    ours = registry.create("siglip", {}, reference.make_context())(features).loss
    expected = formula(features)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert reference.error(reference.gradients(ours, features), reference.gradients(expected, features)) < 1e-11


def test_float32_with_large_logits():
    features = reference.make_features(tau=100.0, bias=-3.0, dtype=torch.float32, spread=0.2)
    exact = reference.float64_copy(features)
    ours = registry.create("siglip", {}, reference.make_context())(features).loss
    assert reference.error(reference.gradients(ours, features), reference.gradients(formula(exact), exact)) < 1e-3


def test_needs_a_bias():
    with pytest.raises(AmorlipError, match="logit_bias_init"):
        registry.create("siglip", {}, reference.make_context())(reference.make_features())


def test_logs_the_partition_function_too():
    features = reference.make_features(tau=10.0, bias=-10.0)
    features.log = True
    found = registry.create("siglip", {}, reference.make_context())(features).diagnostics
    log_z = reference.log_partitions(features).detach()
    assert float(found["log_z_mean"]) == pytest.approx(float(log_z.mean()))
