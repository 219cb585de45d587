"""AmorLIP against its formulas: what stage II contrasts with, and what stage I does to the networks."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference

CONTEXT = {"epochs": 4, "steps_per_epoch": 5}


def create(**settings):
    objective = registry.create("amorlip_l2log", settings, reference.make_context(**CONTEXT)).double()
    objective.start_epoch(0)
    return objective


def run(objective, steps, start=0, tau=14.3):
    """`steps` steps on changing features; returns the last features and loss."""
    for step in range(start, start + steps):
        if step % 5 == 0:
            objective.start_epoch(step // 5)
        features = reference.make_features(seed=step, tau=tau)
        features.step, features.epoch, features.log = step, step // 5, True
        loss = objective(features)
    return features, loss


def network(one, features):
    """The released code's network (see `amorlip_networks.Network`), one sample at a time."""
    p = {name: value.detach() for name, value in one.named_parameters()}
    norm = lambda v, gain, shift: (v - v.mean()) / (v.var(unbiased=False) + 1e-5).sqrt() * gain + shift  # noqa: E731
    values = []
    for u in features.detach():
        a = (p["linear1.weight"] @ u + p["linear1.bias"]).clamp_min(0)
        a = norm(a, p["norm1.weight"], p["norm1.bias"])
        b = (p["linear2.weight"] @ a + p["linear2.bias"]).clamp_min(0)
        b = norm(b, p["norm2.weight"], p["norm2.bias"])
        values.append(p["linear3.weight"][0] @ (b + u).clamp_min(0) + p["linear3.bias"][0])
    return torch.stack(values)


def first_layer(networks):
    return networks.image.linear1.weight


def networks_output(networks, features):
    images, texts = features.image_features, features.text_features
    return torch.stack([network(networks.image, images), network(networks.text, texts)])


def expected_loss(objective, features, log_lambda, positive_weight=1e-3, rho=8.5):
    loss = reference.shared_loss(features, log_lambda, positive_weight)
    return loss / features.logit_scale.detach() + rho / features.logit_scale


def test_first_epoch_combined_is_the_batch_alone():
    objective = create()
    features, loss = run(objective, 3)
    log_z = reference.log_partitions(features, 1e-3)
    expected = expected_loss(objective, features, log_z)
    assert reference.error(reference.gradients(loss.loss, features), reference.gradients(expected, features)) < 1e-12
    assert float(loss.diagnostics["z_ratio"]) == pytest.approx(1.0, abs=1e-12)


def test_later_epochs_mix_the_previous_networks():
    objective = create(beta_horizon_epochs=2)
    run(objective, 5)
    frozen = copy.deepcopy(objective.amortization.target)
    features, loss = run(objective, 2, start=5)
    beta = 0.8 - 0.4 * (1 + math.cos(math.pi * 1 / 2))
    z, previous = reference.log_partitions(features, 1e-3).exp(), networks_output(frozen, features).exp()
    combined = (beta * previous + (1 - beta) * z).log()
    expected = expected_loss(objective, features, combined)
    assert reference.error(reference.gradients(loss.loss, features), reference.gradients(expected, features)) < 1e-9
    assert float(loss.diagnostics["z_ratio"]) == pytest.approx(float((z / combined.exp()).mean().detach()), rel=1e-9)


def test_at_beta_1_the_previous_networks_are_z_comb():
    objective = create(beta_horizon_epochs=1, beta_max=1.0)
    run(objective, 5)
    frozen = copy.deepcopy(objective.amortization.target)
    features, loss = run(objective, 2, start=5)
    expected = expected_loss(objective, features, networks_output(frozen, features))
    assert reference.error(reference.gradients(loss.loss, features), reference.gradients(expected, features)) < 1e-9


def test_target_normalizer_is_the_target_networks_output():
    objective = create(normalizer="target", beta_max=0.0)
    features, loss = run(objective, 3)
    log_lambda = networks_output(objective.amortization.target, features)
    expected = expected_loss(objective, features, log_lambda)
    assert reference.error(reference.gradients(loss.loss, features), reference.gradients(expected, features)) < 1e-9
    error = (log_lambda - reference.log_partitions(features, 1e-3)).square().mean()
    assert float(loss.diagnostics["log_z_error"]) == pytest.approx(float(error.detach()), rel=1e-9)
    log_z = reference.log_partitions(features, 1e-3)
    share = (error / (log_z - log_z.mean(1, keepdim=True)).square().mean()).detach()
    assert float(loss.diagnostics["log_z_unexplained"]) == pytest.approx(float(share), rel=1e-9)


@pytest.mark.parametrize("normalizer", ["combined", "target"])
def test_networks_may_estimate_the_negatives_only(normalizer):
    objective = create(amortize="negatives", normalizer=normalizer, positive_weight=0.3, beta_horizon_epochs=2)
    run(objective, 5)
    frozen = copy.deepcopy(objective.amortization.target)
    features, loss = run(objective, 1, start=5)
    negatives = reference.log_partitions(features, 0.0).exp()
    if normalizer == "combined":
        estimate = 0.4 * networks_output(frozen, features).exp() + 0.6 * negatives
    else:
        estimate = networks_output(objective.amortization.target, features).exp()
    log_lambda = (estimate + 0.3 * reference.logits(features).diagonal().exp()).log()
    expected = expected_loss(objective, features, log_lambda, positive_weight=0.3)
    assert reference.error(reference.gradients(loss.loss, features), reference.gradients(expected, features)) < 1e-9


def test_target_needs_no_partition_function_between_fits(monkeypatch):
    objective = create(normalizer="target", t_online=5)
    run(objective, 1)

    def refuse(self):
        raise AssertionError("log Z was computed")

    monkeypatch.setattr("amorlip.objectives.pairs.Pairs.log_negatives", property(refuse))
    features = reference.make_features()
    features.step = 1
    objective(features)
    features.step = 5
    with pytest.raises(AssertionError, match="log Z"):
        objective(features)


def test_stage_one_is_adam_with_clipping():
    """Three Adam steps by hand on autograd gradients of mean (log λ - log Z)²."""
    objective = create(bias_init="zero", alpha=1.0, grad_clip=0.05)
    online = copy.deepcopy(objective.amortization.online)
    run(objective, 1)
    features = reference.make_features(seed=0)
    log_z = reference.log_partitions(features, 1e-3).detach()
    pairs = features.image_features.detach(), features.text_features.detach()
    parameters = list(online.parameters())
    first, second = [torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters]
    for t in (1, 2, 3):
        found = torch.autograd.grad((online(*pairs) - log_z).square().mean(1).sum(), parameters)
        norm = torch.cat([g.flatten() for g in found]).norm()
        assert norm > 0.05
        for p, g, m, v in zip(parameters, found, first, second, strict=True):
            g = g * 0.05 / norm
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            p.data -= 1e-3 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    for ours, expected in zip(objective.amortization.online.parameters(), parameters, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-9)


def test_schedule_of_fits_and_target_updates():
    objective = create(t_online=2, t_target=3, alpha=0.5, bias_init="zero")
    online, target = first_layer(objective.amortization.online), first_layer(objective.amortization.target)
    changed = []
    for step in range(5):
        before = online.detach().clone(), target.detach().clone()
        run(objective, 1, start=step) if step else run(objective, 1)
        changed.append((not torch.equal(before[0], online), not torch.equal(before[1], target)))
        if step == 0:
            torch.testing.assert_close(target, (0.5 * before[1] + 0.5 * online).detach())
    assert changed == [(True, True), (False, False), (True, False), (False, True), (True, False)]


def test_data_bias_starts_near_log_z():
    for bias, near in (("data", True), ("zero", False)):
        objective = create(bias_init=bias, t_lambda=1)
        _, loss = run(objective, 1, tau=60.0)
        assert (float(loss.diagnostics["log_z_error"]) < 120) == near


def test_reinitialization():
    objective = create()
    run(objective, 5)
    old_target = copy.deepcopy(objective.amortization.target.state_dict())
    online = first_layer(objective.amortization.online).detach().clone()
    objective.start_epoch(1)
    for name, value in objective.amortization.previous.state_dict().items():
        assert torch.equal(value, old_target[name])
    assert not torch.equal(online, first_layer(objective.amortization.online))
    assert torch.equal(first_layer(objective.amortization.target), first_layer(objective.amortization.online))
    assert not objective.amortization.optimizer.state
    kept = create(reinitialize=False)
    run(kept, 5)
    online = first_layer(kept.amortization.online).detach().clone()
    kept.start_epoch(1)
    assert torch.equal(online, first_layer(kept.amortization.online)) and kept.amortization.optimizer.state


def test_starting_an_epoch_twice_changes_nothing():
    objective = create()
    run(objective, 2)
    before = copy.deepcopy(objective.state_dict())
    objective.start_epoch(0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.values(), objective.state_dict().values(), strict=True)
        if isinstance(a, torch.Tensor)
    )


def test_rho_schedule():
    settings = {"rho": 8.5, "rho_schedule": [{"from_fraction": 0.6667, "value": -8.5}]}
    objective = registry.create("amorlip_l2log", settings, reference.make_context(epochs=33))
    values = []
    for epoch in range(33):
        objective.epoch = epoch
        values.append(objective._rho())
    assert values == [8.5] * 22 + [-8.5] * 11


def test_beta_rises_to_its_maximum_at_the_horizon():
    objective = registry.create("amorlip_l2log", {"beta_horizon_epochs": 16}, reference.make_context(epochs=33))
    betas = []
    for epoch in range(33):
        objective.epoch = epoch
        betas.append(objective.beta())
    assert betas[0] == 0.0 and betas[8] == pytest.approx(0.4) and betas[16:] == pytest.approx([0.8] * 17)
    assert betas[:17] == sorted(betas[:17])


@pytest.mark.parametrize("horizon", [None, 16])
def test_beta_may_count_epochs_from_one_as_algorithm_1_does(horizon):
    """One epoch ahead of counting from 0, but for the first epoch, which has no previous networks."""
    betas = {}
    for first in (0, 1):
        settings = {"beta_horizon_epochs": horizon, "beta_counts_from": first}
        objective = registry.create("amorlip_l2log", settings, reference.make_context(epochs=33))
        betas[first] = []
        for epoch in range(33):
            objective.epoch = epoch
            betas[first].append(objective.beta())
    assert betas[1][0] == 0.0 and betas[1][1:-1] == betas[0][2:]
    assert betas[1][-1] == pytest.approx(0.8)


def test_alpha_may_rise_with_the_epochs():
    objective = create(alpha=0.9, alpha_schedule="cosine", beta_horizon_epochs=2, reinitialize=False, t_target=1)
    run(objective, 1)
    for ours, online in zip(
        objective.amortization.target.parameters(), objective.amortization.online.parameters(), strict=True
    ):
        assert torch.equal(ours, online)
    run(objective, 4, start=1)
    before = first_layer(objective.amortization.target).clone()
    run(objective, 1, start=5)
    expected = 0.45 * before + 0.55 * first_layer(objective.amortization.online)
    torch.testing.assert_close(first_layer(objective.amortization.target), expected.detach())


@pytest.mark.parametrize(("rule", "rate"), [("constant", 2e-3), ("times_ranks", 8e-3)])
def test_rate_may_grow_with_the_ranks(rule, rate):
    settings = {"lr": 2e-3, "lr_rule": rule}
    objective = registry.create("amorlip_l2log", settings, reference.make_context(world_size=4))
    assert objective.amortization.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_seeds_and_epochs_start_differently_and_ranks_alike():
    def start(**changes):
        epoch = changes.pop("epoch", 0)
        objective = registry.create("amorlip_l2log", {}, reference.make_context(**changes))
        objective.start_epoch(epoch)
        return first_layer(objective.amortization.online)

    assert torch.equal(start(), start(world_size=2, rank=1))
    assert not torch.equal(start(), start(seed=4)) and not torch.equal(start(), start(epoch=1))


def test_local_negatives_need_others_on_the_rank():
    with pytest.raises(AmorlipError, match="at least two pairs"):
        registry.create("amorlip_l2log", {"negatives": "local"}, reference.make_context(4, world_size=4))
