"""Networks learn a planted log Z, whichever the amortization objective, the logit scale and the start."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from amorlip.objectives import divergences
from amorlip.objectives.amorlip_networks import AmortizationNetworks

WIDTH = 32
SPREADS = {14.3: 1.5, 40.0: 0.7, 100.0: 0.35}
"""How far features lie apart at a logit scale, so that a constant has a squared error between 0.4 and 3."""


class Planted:
    """Features in a cone, and log Z(u) = log Σ_k exp(τ<u, v_k>) of 64 planted directions."""

    def __init__(self, tau: float, spread: float = 0.5) -> None:
        """`spread` of the directions: the larger τ·spread, the closer log Z is to a maximum of 64 linear functions."""
        self.tau, self.generator = tau, torch.Generator().manual_seed(1)
        self.axis = normalize(self._noise(WIDTH), dim=0)
        self.directions = normalize(self.axis + spread * self._unit(64), dim=1)

    def _noise(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def _unit(self, *shape):
        return normalize(self._noise(*shape, WIDTH), dim=-1)

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = normalize(self.axis + SPREADS[self.tau] * self._unit(2, count), dim=-1)
        return features, (self.tau * (features.double() @ self.directions.T.double())).logsumexp(-1).float()


def fresh_networks() -> AmortizationNetworks:
    amortization = AmortizationNetworks(WIDTH, WIDTH, lr=1e-3, grad_clip=1.0, world_size=1)
    amortization.reinitialize(0)
    return amortization


def squared_error(networks, features, log_z) -> float:
    with torch.no_grad():
        return float((networks(*features) - log_z).square().mean())


def fit(amortization, name, batches, steps):
    """One Adam step per batch; fails at once where a parameter is not finite."""
    for step in range(steps):
        (image, text), log_z = next(batches)
        amortization.fit(image, text, log_z, getattr(divergences, name), steps=1)
        if step % 100 == 0 or step < 5:
            assert all(bool(parameter.isfinite().all()) for parameter in amortization.online.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("start", ["data", "zero"])
@pytest.mark.parametrize("tau", list(SPREADS))
@pytest.mark.parametrize("name", ["l2_log", "kl", "js"])
def test_a_batch_is_learned(name, tau, start):
    """Within 3,000 steps; with `zero` from up to 92 below log Z, where exp(log Z - log λ) overflows."""
    features, log_z = Planted(tau).sample(128)
    assert float(log_z.var(dim=1).min()) > 0.4
    amortization = fresh_networks()
    if start == "data":
        amortization.start_at(log_z.mean(1))
    fit(amortization, name, iter(lambda: (features, log_z), None), 3000)
    assert squared_error(amortization.online, features, log_z) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("tau", [14.3, 40.0])
@pytest.mark.parametrize("name", ["l2_log", "kl", "js"])
def test_the_function_is_learned(name, tau):
    """From ever new features; the error is the target networks' on features not seen before. (At τ = 100, Adam's noise
    at this constant rate leaves 0.03.)"""
    planted = Planted(tau, spread=0.5 * 14.3 / tau)
    amortization = fresh_networks()
    features, log_z = planted.sample(2000)
    assert float(log_z.var(dim=1).min()) > 0.4
    amortization.start_at(log_z.mean(1))
    for _ in range(3000):
        (image, text), log_target = planted.sample(512)
        amortization.fit(image, text, log_target, getattr(divergences, name), steps=1)
        amortization.update_target(0.98)
    assert squared_error(amortization.target, features, log_z) < 0.01


@pytest.mark.parametrize("name", ["l2_log", "kl", "js"])
def test_far_from_the_start_nothing_overflows(name):
    features, log_z = Planted(100.0).sample(128)
    assert float(log_z.mean()) > 89
    amortization = fresh_networks()
    before = squared_error(amortization.online, features, log_z)
    fit(amortization, name, iter(lambda: (features, log_z), None), 100)
    assert squared_error(amortization.online, features, log_z) < before - 100
