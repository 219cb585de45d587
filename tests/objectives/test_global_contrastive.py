"""SogCLR, FastCLIP and NeuCLIP against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference


def mean_ratios(features):
    """(2, b) g_i = mean_{j≠i} exp(τ(s_ij - s_ii)), image and text."""
    values = reference.logits(features)
    positive = values.diagonal()
    off = ~torch.eye(len(values), dtype=torch.bool)
    image = ((values - positive[:, None]).exp() * off).sum(1) / (len(values) - 1)
    text = ((values - positive[None, :]).exp() * off).sum(0) / (len(values) - 1)
    return torch.stack([image, text])


def two_steps(objective, epoch=1, tau=14.3):
    """A step in epoch 0 and one in `epoch` with the same samples in another order; returns their features and loss."""
    first = reference.make_features(seed=1, tau=tau)
    second = reference.make_features(seed=2, tau=tau)
    second.sample_ids = torch.arange(24).flip(0)
    second.epoch, second.step = epoch, 5 * epoch
    objective.start_epoch(0)
    objective(first)
    objective.start_epoch(epoch)
    return first, second, objective(second).loss


def averages(first, second, gamma):
    """u of the second step's samples after both steps."""
    old = mean_ratios(first).detach().flip(1)
    return (1 - gamma) * old + gamma * mean_ratios(second).detach()


def test_sogclr():
    objective = registry.create("sogclr", {"gamma": 0.3}, reference.make_context()).double()
    first, second, loss = two_steps(objective)
    expected = 0.5 * (mean_ratios(second) / (averages(first, second, 0.3) + 1e-14)).sum(0).mean()
    assert reference.error(reference.gradients(loss, second), reference.gradients(expected, second)) < 1e-9


@pytest.mark.parametrize("version", ["v0", "v1", "v3"])
@pytest.mark.parametrize("tau_gradient", ["code", "formula"])
def test_fastclip(version, tau_gradient):
    settings = {"version": version, "tau_gradient": tau_gradient, "rho": 6.5, "gamma_horizon_epochs": 2}
    objective = registry.create("fastclip", settings, reference.make_context()).double()
    first, second, loss = two_steps(objective)
    u = averages(first, second, 0.2 + 0.4 * (1 + math.cos(math.pi / 2)))
    ratio = 0.5 * (mean_ratios(second) / (u + 1e-14)).sum(0).mean()
    temperature = 1 / second.logit_scale
    expected = ratio
    if version == "v3":
        expected = ratio * temperature.detach() + temperature * (6.5 + 0.5 * u.log().sum(0).mean())
    wanted = reference.gradients(expected, second)
    if tau_gradient == "code":
        again = ratio * (temperature.detach() if version == "v3" else 1.0)
        wanted[2] = wanted[2] + reference.gradients(again, second)[2]
    assert reference.error(reference.gradients(loss, second), wanted) < 1e-9


@pytest.mark.parametrize("name", ["sogclr", "fastclip"])
def test_float32_where_the_ratio_overflows(name):
    """Pairs that point away from each other: exp(τ(s_ij - s_ii)) is above the largest float32."""
    features = reference.make_features(tau=100.0, width=4, dtype=torch.float32)
    features.text_features = (-features.image_features).detach().requires_grad_()
    exact = reference.float64_copy(features)
    assert bool(mean_ratios(features).isinf().any())
    ours = registry.create(name, {}, reference.make_context())(features).loss
    g = mean_ratios(exact)
    expected = 0.5 * (g / (g.detach() + 1e-14)).sum(0).mean()
    factor = 1.0 if name == "sogclr" else 1 / 100
    found, wanted = reference.gradients(ours, features)[:2], reference.gradients(factor * expected, exact)[:2]
    assert reference.error(found, wanted) < 1e-3


def test_unseen_samples_start_at_their_value():
    objective = registry.create("sogclr", {"gamma": 0.3}, reference.make_context()).double()
    features = reference.make_features()
    features.sample_ids = torch.arange(24) + 50
    objective(features)
    state = objective.averages.log_u
    torch.testing.assert_close(state[:, 50:74], mean_ratios(features).detach().log())
    assert bool(state[:, :50].isneginf().all()) and bool(state[:, 74:].isneginf().all())


def test_gamma_schedule():
    from amorlip.objectives.global_contrastive import cosine_gamma

    context = reference.make_context(epochs=33)
    values = [cosine_gamma(0.2, 16, context, epoch) for epoch in range(33)]
    assert values[0] == 1.0 and values[8] == pytest.approx(0.6) and values[16:] == [0.2] * 17
    assert cosine_gamma(0.2, None, context, 16) == 0.2 and cosine_gamma(0.2, None, context, 15) > 0.2
    assert cosine_gamma(0.2, 1, context, 0) == 1.0


def test_value_is_the_contrastive_loss_without_the_pair_where_u_is_g():
    features = reference.make_features()
    loss = registry.create("sogclr", {}, reference.make_context()).double()(features).loss
    log_negatives = reference.log_partitions(features, 0.0)
    expected = 0.5 * (log_negatives - reference.logits(features).diagonal()).mean(1).sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-10)


def neuclip_alpha(prototypes, features, eps=1e-14):
    scale = features.logit_scale
    units = prototypes / prototypes.norm(dim=-1, keepdim=True)
    positive = (features.image_features * features.text_features).sum(1)
    image = (scale * (features.image_features @ units[0].T - positive[:, None])).exp().mean(1)
    text = (scale * (features.text_features @ units[1].T - positive[:, None])).exp().mean(1)
    return (eps + torch.stack([image, text])).log()


def neuclip_half_objective(alpha, features, rho, eps=1e-14):
    inner = ((-alpha).exp() * (eps + mean_ratios(features)) + alpha - 1).mean(1).sum()
    return (0.5 * inner + rho) / features.logit_scale


def test_neuclip_alternates():
    """Prototypes: AdaGrad by hand from the other modality's features; encoders: the gradient with α fixed."""
    settings = {"prototypes": 40, "t_u": 3, "lr": 0.05, "rho": 6.5}
    objective = registry.create("neuclip", settings, reference.make_context()).double()
    features = reference.make_features()
    loss = objective(features).loss
    stacked = torch.stack([features.text_features, features.image_features]).detach()
    prototypes = torch.cat([stacked, stacked[:, :16]], 1).requires_grad_()
    accumulated = torch.zeros_like(prototypes)
    fixed = mean_ratios(features).detach()
    for _ in range(3):
        alpha = neuclip_alpha(prototypes, features)
        value = ((-alpha).exp() * (1e-14 + fixed) + alpha - 1).mean(1).sum()
        (gradient,) = torch.autograd.grad(value, [prototypes])
        accumulated += gradient.square()
        prototypes = (prototypes - 0.05 * gradient / (accumulated.sqrt() + 1e-10)).detach().requires_grad_()
    torch.testing.assert_close(objective.prototypes.detach(), prototypes.detach(), rtol=1e-9, atol=1e-11)
    expected = neuclip_half_objective(neuclip_alpha(prototypes, features).detach(), features, rho=6.5)
    assert reference.error(reference.gradients(loss, features), reference.gradients(expected, features)) < 1e-9


def test_neuclip_has_prototypes_from_its_first_step_on():
    """Whichever that is: benches begin in the second epoch."""
    objective = registry.create("neuclip", {"prototypes": 60, "t_u": 1}, reference.make_context())
    objective(replace(reference.make_features(), step=1)).loss.backward()
    assert objective.reseeds == 1 and objective.prototypes.detach().norm(dim=-1).min() > 0.5


def test_neuclip_renews_prototypes_in_turn():
    objective = registry.create("neuclip", {"prototypes": 60, "t_u": 1, "reseed_steps": 2}, reference.make_context())
    features = reference.make_features(dtype=torch.float32)
    objective(features)
    features.step = 2
    before = objective.prototypes.detach().clone()
    objective._fit = lambda pairs, log_g, optimizer: None
    objective(features)
    changed = (objective.prototypes.detach() != before).any(-1).any(0)
    assert changed.tolist() == [False] * 24 + [True] * 24 + [False] * 12
    assert torch.equal(objective.prototypes[0, 24:48], features.text_features)
    assert objective.optimizer.state[objective.prototypes]["sum"].abs().max() == 0
