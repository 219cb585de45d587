"""DCL and its version with AmorLIP's logit scale, against their formulas in float64 and against their neighbors."""

from __future__ import annotations

import pytest
import torch

from amorlip.objectives import registry
from tests.helpers import objectives_reference as reference


def gradients(name, settings, features):
    objective = registry.create(name, settings, reference.make_context()).double()
    objective.start_epoch(features.epoch)
    return reference.gradients(objective(features).loss, features)


@pytest.mark.parametrize("weight", [0.0, 1e-3, 1.0])
def test_value_and_gradient_are_infonce_with_that_weight_for_the_pair_itself(weight):
    features = reference.make_features()
    ours = registry.create("dcl", {"positive_weight": weight}, reference.make_context())(features)
    positive = reference.logits(features).diagonal()
    expected = 0.5 * (reference.log_partitions(features, weight) - positive).mean(1).sum()
    assert float(ours.loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    assert reference.error(reference.gradients(ours.loss, features), reference.gradients(expected, features)) < 1e-10


def test_weight_1_is_clip():
    features = reference.make_features()
    assert reference.error(gradients("dcl", {"positive_weight": 1}, features), gradients("clip", {}, features)) < 1e-12


def test_the_pair_itself_no_longer_weakens_its_gradient():
    """CLIP's pull on a pair that already stands out vanishes with its probability; DCL's does not."""
    unit = torch.eye(8, dtype=torch.float64)
    features = reference.make_features(batch=8, width=8, tau=30.0)
    features.image_features, features.text_features = unit.clone().requires_grad_(), unit.clone().requires_grad_()
    context = reference.make_context(8, 8)
    pull = {
        name: float(reference.gradients(registry.create(name, {}, context)(features).loss, features)[0].norm())
        for name in ("clip", "dcl")
    }
    assert pull["clip"] < 1e-9 < 1 < pull["dcl"]


@pytest.mark.parametrize(("epoch", "rho"), [(0, 6.5), (2, 6.5), (3, -8.0)])
def test_dcl_rho_is_the_loss_over_tau_plus_rho_over_tau(epoch, rho):
    features = reference.make_features()
    features.epoch = epoch
    settings = {"positive_weight": 1e-3, "rho": 6.5, "rho_schedule": [{"from_fraction": 0.75, "value": -8.0}]}
    contrast = reference.shared_loss(features, reference.log_partitions(features, 1e-3), 1e-3)
    expected = contrast / features.logit_scale.detach() + rho / features.logit_scale
    found = gradients("dcl_rho", settings, features)
    assert reference.error(found, reference.gradients(expected, features)) < 1e-10


@pytest.mark.parametrize("weight", [0.0, 1e-3])
def test_amorlip_without_networks_is_dcl_rho(weight):
    features = reference.make_features()
    features.step, features.epoch = 5, 1
    shared = {"positive_weight": weight, "rho": 6.5}
    amorlip = gradients("amorlip_l2log", shared | {"beta_max": 0.0}, features)
    assert reference.error(amorlip, gradients("dcl_rho", shared, features)) < 1e-12


@pytest.mark.parametrize("method", ["dcl_rho", "amorlip_l2log"])
def test_without_rho_and_networks_the_gradient_is_dcls_times_two_over_tau(method):
    features = reference.make_features(tau=20.0)
    settings = {"positive_weight": 0.0, "rho": 0.0} | ({"beta_max": 0.0} if method == "amorlip_l2log" else {})
    scaled = [0.1 * gradient for gradient in gradients("dcl", {}, features)]
    assert reference.error(gradients(method, settings, features), scaled) < 1e-12
