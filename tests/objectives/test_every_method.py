"""What holds for all methods alike."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from amorlip.config.objectives import OBJECTIVES
from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference
from tests.helpers.waits import Waits

METHODS = {
    "clip": {},
    "dcl": {},
    "dcl_rho": {},
    "siglip": {},
    "sogclr": {},
    "fastclip": {},
    "neuclip": {"prototypes": 30, "t_u": 2},
    "amorlip_l2log": {"alpha": 0.5, "beta_horizon_epochs": 1},
    "amorlip_fdiv": {"alpha": 0.5, "beta_horizon_epochs": 1},
}


def test_list_is_complete():
    assert METHODS.keys() == OBJECTIVES.keys()


def trained(name, dtype=torch.float32, same=False):
    """An objective in its second epoch, with some state; `same`: from the features of step 6 alone."""
    objective = registry.create(name, METHODS[name], reference.make_context()).to(dtype)
    for step in range(6):
        if step % 5 == 0:
            objective.start_epoch(step // 5)
        seen = features_of(6 if same else step, dtype=dtype)
        objective(replace(seen, step=step, epoch=step // 5))
    return objective


def features_of(step, **options):
    features = reference.make_features(seed=step, bias=-10.0, **({"dtype": torch.float32} | options))
    return replace(features, step=step, epoch=step // 5)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_of_features_are_enough_for_micro_batches(name):
    """The chain rule through the encoder by parts, with the gradients of features computed once."""
    weight = torch.randn(16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = features_of(6, dtype=torch.float64)

    def encode(rows, weight):
        sides = (inputs.image_features, inputs.text_features)
        return [torch.nn.functional.normalize(side[rows].detach() @ weight, dim=1) for side in sides]

    def gradients(parts):
        objective = trained(name, torch.float64)
        leaf = weight.clone().requires_grad_()
        if parts is None:
            image, text = encode(slice(None), leaf)
            loss = objective(replace(inputs, image_features=image, text_features=text)).loss
            return torch.autograd.grad(loss, [leaf, inputs.logit_scale], retain_graph=True)
        image, text = (side.detach().requires_grad_() for side in encode(slice(None), leaf))
        loss = objective(replace(inputs, image_features=image, text_features=text)).loss
        to_image, to_text, to_scale = torch.autograd.grad(loss, [image, text, inputs.logit_scale])
        for rows in torch.arange(24).chunk(parts):
            torch.autograd.backward(encode(rows, leaf), [to_image[rows], to_text[rows]])
        return leaf.grad, to_scale

    for parts in (3, 24):
        assert reference.error(list(gradients(parts)), list(gradients(None))) < 1e-10


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("log", [False, True])
def test_a_step_never_waits_for_the_device(name, log):
    objective = trained(name)
    features = replace(features_of(6), log=log)
    with Waits(objective) as waits:
        objective(features).loss.backward()
    assert waits.found == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x[0] > 1),
        lambda x: x[x > 1],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
    ],
)
def test_the_check_for_waiting_works(wait):
    with Waits() as waits:
        wait(torch.arange(4.0))
    assert waits.found


@pytest.mark.parametrize("name", METHODS)
def test_diagnostics_are_detached_scalars_and_change_nothing(name):
    plain, logged = trained(name), trained(name)
    features = features_of(6)
    without, found = plain(features), logged(replace(features, log=True))
    assert without.diagnostics == {}
    assert {"log_z_mean", "log_z_std", "effective_negatives"} <= found.diagnostics.keys()
    assert 1 <= float(found.diagnostics["effective_negatives"]) <= 23
    assert float(found.diagnostics["infonce"]) == pytest.approx(float(reference.infonce(features).detach()), abs=1e-4)
    for value in found.diagnostics.values():
        assert value.shape == () and not value.requires_grad and bool(value.isfinite())
    assert torch.equal(without.loss, found.loss)


@pytest.mark.parametrize("name", METHODS)
def test_loss_can_be_compared_with_clips(name):
    """All methods but SigLIP show a bound of InfoNCE, without their own offsets and factors."""
    features = features_of(6)
    found = float(trained(name, same=True)(features).loss.detach())
    near = abs(found - float(reference.infonce(features).detach())) < 1.5
    assert near == (name != "siglip")


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in METHODS), ("amorlip_l2log", {"normalizer": "target", "lr": 1e-9})]
)
def test_float32_at_the_largest_logit_scale_is_finite_and_right(name, changes):
    """exp(τ s_ij) overflows. The same state and inputs in float64 give the same gradients to 1e-3 of their norm.

    With `target` λ depends on the fit of the same step, in which Adam makes large what rounding changes: a tiny rate.
    """
    objective = registry.create(name, METHODS[name] | changes, reference.make_context())
    for step in range(7):
        if step % 5 == 0:
            objective.start_epoch(step // 5)
        exact = registry.create(name, METHODS[name] | changes, reference.make_context()).double()
        exact.load_state_dict(objective.state_dict())
        features = features_of(step, tau=100.0, spread=0.2)
        assert bool(reference.logits(features).exp().isinf().any())
        copied = reference.float64_copy(features)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = reference.gradients(objective(features).loss, features)
        assert all(bool(gradient.isfinite().all()) for gradient in ours)
        assert reference.error(ours, reference.gradients(exact(copied).loss, copied)) < 1e-3
