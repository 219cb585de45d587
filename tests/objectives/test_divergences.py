"""The amortization objectives as divergences between conditionals, and where they are smallest."""

from __future__ import annotations

import math

import pytest
import torch

from amorlip.objectives import divergences, registry
from tests.helpers import objectives_reference as reference

NAMES = ["l2_log", "kl", "js"]


def conditionals(log_lambda):
    """P(j|i) of a batch's images, the amortized Q(j|i) with λ = Z·e^δ, and log Z."""
    features = reference.make_features()
    weighted = reference.weighted(features, 1e-3).detach()
    log_z = weighted.logsumexp(1)
    return (weighted - log_z[:, None]).exp(), (weighted - (log_z + log_lambda)[:, None]).exp(), log_z


def matrix_form(name, p, q):
    """Σ_j P f(Q/P), summed over the texts, from the definition of an f-divergence."""
    t = q / p
    if name == "kl":
        return (p * (t * t.log() - t + 1)).sum(1)
    if name == "js":
        mixture = 0.5 * (p + q)
        return 0.5 * (p * (p / mixture).log() + q * (q / mixture).log()).sum(1)
    return (p * t.log().square()).sum(1)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_batch(name):
    shift = torch.linspace(-3, 3, 24, dtype=torch.float64)
    p, q, log_z = conditionals(shift)
    found = getattr(divergences, name)(log_z + shift, log_z)
    torch.testing.assert_close(found, matrix_form(name, p, q), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_smallest_where_the_estimate_is_right(name):
    shift = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    values = getattr(divergences, name)(shift, torch.zeros_like(shift))
    assert float(shift[values.argmin()]) == pytest.approx(0.0, abs=1e-9)
    assert float(values.min()) == pytest.approx(0.0, abs=1e-12)
    assert bool((values.diff()[:3000] < 0).all()) and bool((values.diff()[3000:] > 0).all())


def test_bare_t_log_t_is_smallest_at_e_times_z():
    shift = torch.linspace(-5, 5, 100_001, dtype=torch.float64)
    ratio = (-shift).exp()
    assert float(shift[(ratio * ratio.log()).argmin()]) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("name", "factor"), [("kl", 1 / 2), ("js", 1 / 8)])
def test_second_order(name, factor):
    shift = torch.tensor([-1e-3, 1e-3], dtype=torch.float64)
    values = getattr(divergences, name)(shift, torch.zeros_like(shift))
    torch.testing.assert_close(values, factor * shift.square(), rtol=2e-3, atol=0)
    assert not torch.allclose(values, 1.02 * factor * shift.square(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [-200.0, -20.001, -19.999, -1.0, 1e-3, 5.0, 200.0])
def test_gradient_in_float32(name, shift):
    """Finite everywhere; the derivative of the formula up to r = e^20, the derivative there beyond."""
    log_lambda = torch.tensor(shift, requires_grad=True)
    (gradient,) = torch.autograd.grad(getattr(divergences, name)(log_lambda, torch.tensor(0.0)), [log_lambda])
    q = -shift if name == "l2_log" else min(-shift, 20.0)
    slope = {
        "l2_log": -2 * q,
        "kl": -q * math.exp(q),
        "js": -0.5 * math.exp(q) * (math.log(2) - math.log1p(math.exp(-q))) if q > -300 else 0.0,
    }[name]
    assert float(gradient) == pytest.approx(slope, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "release"])
@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_f_divergence_objective(divergence, reduction):
    settings = {"divergence": divergence, "fdiv_reduction": reduction}
    objective = registry.create("amorlip_fdiv", settings, reference.make_context())
    shift = torch.linspace(-3, 3, 24, dtype=torch.float64)
    p, q, log_z = conditionals(shift)
    if reduction == "mean":
        expected = matrix_form(divergence, p, q).mean()
    else:
        expected = matrix_form(divergence, p, q).sum() / 24**2
    found = objective.divergence(log_z + shift, log_z).mean()
    assert float(found) == pytest.approx(float(expected + 0.1 * shift.square().mean()), rel=1e-10)
