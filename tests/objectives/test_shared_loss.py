from __future__ import annotations

import pytest
import torch

from amorlip.objectives import pairs
from amorlip.objectives.pairs import Pairs
from amorlip.objectives.shared_loss import Normalization, contrast, infonce_bound
from tests.helpers import objectives_reference as reference


def arbitrary_lambda(features, seed=5):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, len(features.image_features), generator=generator, dtype=torch.float64)
    return (reference.log_partitions(reference.float64_copy(features)).detach() + noise).to(features.logit_scale.dtype)


@pytest.mark.parametrize("positive_weight", [1.0, 1e-3, 0.0])
@pytest.mark.parametrize("coefficients", [2.0, "vector"])
def test_gradients_are_those_of_the_formula(positive_weight, coefficients):
    features = reference.make_features()
    if coefficients == "vector":
        coefficients = torch.linspace(0.5, 3.0, 24, dtype=torch.float64)
    log_lambda = arbitrary_lambda(features)
    pairs = Pairs(features, reference.make_context())
    ours = contrast(features, pairs, Normalization(log_lambda, positive_weight, coefficients))
    theirs = reference.shared_loss(features, log_lambda, positive_weight, coefficients)
    assert abs(float((ours - theirs).detach())) < 1e-10
    assert reference.error(reference.gradients(ours, features), reference.gradients(theirs, features)) < 1e-12


def test_blocks_on_a_gpu_have_512_rows_at_least():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [pairs.block_rows(columns, cpu) for columns in (2048, 16384, 2**23)] == [2048, 256, 1]
    assert [pairs.block_rows(columns, gpu) for columns in (2048, 16384, 2**23)] == [2048, 512, 512]


@pytest.mark.parametrize("elements", [1, 24 * 5, 24 * 23])
def test_block_size_changes_nothing(monkeypatch, elements):
    features = reference.make_features()
    whole = Pairs(features, reference.make_context())
    log_lambda = arbitrary_lambda(features)
    expected = reference.gradients(contrast(features, whole, Normalization(log_lambda, 1e-3)), features)
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", elements)
    blocked = Pairs(features, reference.make_context())
    assert len(list(blocked.strips[0].blocks())) > 1
    torch.testing.assert_close(blocked.log_negatives, whole.log_negatives, rtol=0, atol=1e-12)
    assert (
        reference.error(
            reference.gradients(contrast(features, blocked, Normalization(log_lambda, 1e-3)), features), expected
        )
        < 1e-12
    )


@pytest.mark.parametrize("positive_weight", [1.0, 1e-3, 0.0])
def test_log_partitions(positive_weight):
    features = reference.make_features()
    pairs = Pairs(features, reference.make_context())
    expected = reference.log_partitions(features, positive_weight)
    torch.testing.assert_close(
        pairs.with_positive(pairs.log_negatives, positive_weight), expected.detach(), rtol=0, atol=1e-12
    )


def test_with_the_partition_function_it_is_twice_infonce():
    features = reference.make_features()
    log_z = reference.log_partitions(features).detach()
    loss = contrast(features, Pairs(features, reference.make_context()), Normalization(log_z))
    twice = [2 * g for g in reference.gradients(reference.infonce(features), features)]
    assert reference.error(reference.gradients(loss, features), twice) < 1e-12
    assert float(infonce_bound(loss, log_z)) == pytest.approx(float(reference.infonce(features).detach()), abs=1e-12)


def test_bound_holds_for_any_lambda():
    features = reference.make_features()
    pairs = Pairs(features, reference.make_context())
    for seed in range(5):
        log_lambda = arbitrary_lambda(features, seed)
        bound = infonce_bound(contrast(features, pairs, Normalization(log_lambda)), log_lambda)
        assert float(bound) > float(reference.infonce(features).detach()) + 0.1


@pytest.mark.parametrize("positive_weight", [1.0, 1e-3])
def test_float32_where_the_exponential_overflows(positive_weight):
    features = reference.make_features(tau=100.0, dtype=torch.float32, spread=0.2)
    assert bool(reference.logits(features).exp().isinf().any())
    exact = reference.float64_copy(features)
    pairs = Pairs(features, reference.make_context())
    log_lambda = pairs.with_positive(pairs.log_negatives, positive_weight)
    ours = reference.gradients(contrast(features, pairs, Normalization(log_lambda, positive_weight)), features)
    expected = reference.shared_loss(exact, reference.log_partitions(exact, positive_weight), positive_weight)
    assert reference.error(ours, reference.gradients(expected, exact)) < 1e-3


def test_no_gradient_reaches_the_estimate():
    features = reference.make_features()
    log_lambda = arbitrary_lambda(features).requires_grad_()
    loss = contrast(features, Pairs(features, reference.make_context()), Normalization(log_lambda))
    assert torch.autograd.grad(loss, [log_lambda], allow_unused=True) == (None,)
