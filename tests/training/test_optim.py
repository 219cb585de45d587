"""Parameter groups, rates, clipping, and steps that must change nothing."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from amorlip.common.errors import AmorlipError
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer

WORLD = World(torch.device("cpu"))


class Toy(nn.Module):
    """Parameters of every kind: a matrix, a gain, a bias, and the scalars of the logits."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(3, 4, generator=generator))
        self.gain = nn.Parameter(torch.ones(4))
        self.shift = nn.Parameter(torch.randn(4, generator=generator))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if bias else None


@pytest.fixture
def build(make_run):
    def build(model: nn.Module, *, steps: int = 10, **recipe) -> Optimizer:
        base = {"schedule": {"warmup_steps": 0}, "optimizer": {"lr": 0.1, "weight_decay": 0.2}}
        return Optimizer(model, make_run(**{**base, **recipe}).recipe, steps=steps, world=WORLD)

    return build


def give_gradients(model: nn.Module, value: float = 0.3) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, value) if parameter.requires_grad else None


def one_step(optimizer: Optimizer, model: nn.Module, step: int = 0, value: float = 0.3, loss: float = 1.0):
    give_gradients(model, value)
    return optimizer.update(torch.tensor(loss), step)


def test_first_update_against_float64(build):
    """Adam's first step is -lr sign(g) up to eps; decay is decoupled and acts on matrices alone."""
    model = Toy()
    before = {name: value.detach().double().numpy() for name, value in copy.deepcopy(model).named_parameters()}
    update = one_step(build(model), model)
    move = 0.1 * 0.3 / (0.3 + 1e-6)
    for name, value in model.named_parameters():
        kept = 1 - 0.1 * 0.2 if name == "matrix" else 1.0
        np.testing.assert_allclose(value.detach().numpy(), before[name] * kept - move, rtol=1e-6, err_msg=name)
    assert update.grad_norm.item() == pytest.approx(0.3 * math.sqrt(12 + 4 + 4))
    assert update.applied and not update.failed


@pytest.mark.parametrize(
    ("parameters", "bias", "count"),
    [("encoders", True, 20), ("encoders", False, 20), ("all", True, 22), ("all", False, 21)],
)
def test_clipping_is_of_the_encoders_or_of_all_parameters(build, parameters, bias, count):
    model = Toy(bias)
    settings = {"lr": 0.1, "grad_clip": 0.5, "grad_clip_parameters": parameters}
    update = one_step(build(model, optimizer=settings), model)
    norm = 0.3 * math.sqrt(count)
    assert update.grad_norm.item() == pytest.approx(norm)
    clipped = pytest.approx(0.3 * 0.5 / norm, rel=1e-5)
    assert model.matrix.grad[0, 0].item() == clipped
    for scalar in (model.logit_scale, model.logit_bias) if bias else (model.logit_scale,):
        assert scalar.grad.item() == (clipped if parameters == "all" else pytest.approx(0.3))


def test_a_fixed_logit_scale_has_no_part_in_the_norm_of_all(build):
    model = Toy(bias=False)
    model.logit_scale.requires_grad_(False)
    settings = {"lr": 0.1, "grad_clip": 0.5, "grad_clip_parameters": "all"}
    assert one_step(build(model, optimizer=settings), model).grad_norm.item() == pytest.approx(0.3 * math.sqrt(20))


@pytest.mark.parametrize("where", ["loss", "encoder", "logit_scale"])
def test_a_step_that_is_not_finite_changes_nothing(build, where):
    model = Toy()
    optimizer = build(model)
    one_step(optimizer, model)
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.adamw.state_dict()["state"])
    give_gradients(model)
    if where == "encoder":
        model.gain.grad[2] = float("inf")
    if where == "logit_scale":
        model.logit_scale.grad.fill_(float("nan"))
    update = optimizer.update(torch.tensor(float("nan") if where == "loss" else 1.0), 1)
    assert update.failed and not update.applied
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    for number, values in optimizer.adamw.state_dict()["state"].items():
        for name, value in values.items():
            assert torch.equal(value, state[number][name]), name
    assert one_step(optimizer, model, step=2).applied
    assert not torch.equal(model.matrix, weights["matrix"])


def test_logit_scale_stays_in_its_bounds(build):
    model = Toy(bias=False)
    optimizer = build(model, logit_scale={"init": 10.0, "max": 20.0, "lr": 5.0})
    one_step(optimizer, model, value=-1.0)
    assert model.logit_scale.exp().item() == pytest.approx(20.0)
    one_step(optimizer, model, step=1, value=100.0)
    assert model.logit_scale.item() == 0.0


def test_logit_scale_has_its_own_rate_without_warmup(build):
    model = Toy()
    optimizer = build(model, logit_scale={"lr": 0.01}, schedule={"warmup_steps": 5})
    for step in range(3):
        one_step(optimizer, model, step=step)
        assert optimizer.scale_learning_rate().item() == pytest.approx(0.01)
        assert optimizer.adamw.param_groups[0]["lr"] == pytest.approx(0.1 * (step + 1) / 5)
    assert model.logit_scale.item() == pytest.approx(math.log(10) - 0.03, rel=1e-4)


def test_logit_scale_follows_the_encoders_without_a_rate_of_its_own(build):
    model = Toy()
    optimizer = build(model, schedule={"warmup_steps": 5})
    one_step(optimizer, model)
    assert optimizer.scale_learning_rate() is None
    assert model.logit_scale.item() == pytest.approx(math.log(10) - 0.02, rel=1e-5)


def test_rate_is_lower_while_the_temperature_is_at_the_threshold_or_below(build):
    """Compared at every step: at τ = 11, above the threshold again, the rate is the full one again."""
    model = Toy(bias=False)
    drop = {"temperature": 1 / 12, "factor": 0.25}
    optimizer = build(model, logit_scale={"init": 10.0, "lr": 0.01, "drop": drop})
    rates = []
    for step, tau in enumerate([10.0, 11.9, 12.1, 15.0, 11.0, 12.1]):
        with torch.no_grad():
            model.logit_scale.fill_(math.log(tau))
        one_step(optimizer, model, step=step)
        rates.append(optimizer.scale_learning_rate().item())
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.0025, 0.0025, 0.01, 0.0025], rtol=1e-6)


def test_a_state_with_the_former_latched_threshold_is_still_read(build):
    model = Toy(bias=False)
    optimizer = build(model)
    one_step(optimizer, model)
    state = {**copy.deepcopy(optimizer.state_dict()), "scale_dropped": torch.tensor(True)}
    other = build(Toy(bias=False))
    other.load_state_dict(state)
    assert "scale_dropped" not in other.state_dict()
    for entry, expected in zip(other.adamw.state.values(), optimizer.adamw.state.values(), strict=True):
        assert torch.equal(entry["exp_avg_sq"], expected["exp_avg_sq"])


def test_a_fixed_logit_scale_is_left_alone(build):
    model = Toy(bias=False)
    model.logit_scale.requires_grad_(False)
    optimizer = build(model, logit_scale={"learnable": False, "lr": 0.1})
    one_step(optimizer, model)
    assert model.logit_scale.exp().item() == pytest.approx(10.0)
    assert optimizer.scale_learning_rate() is None


@pytest.mark.parametrize("own", [{}, {"lr": 0.01, "drop": {"temperature": 0.09, "factor": 0.5}}])
def test_an_optimizer_goes_on_from_its_state_bit_by_bit(build, own):
    def run(model: Toy, optimizer: Optimizer, steps: range) -> None:
        for step in steps:
            one_step(optimizer, model, step=step, value=math.sin(step))

    through, halves = Toy(), Toy()
    run(through, build(through, logit_scale=own), range(6))
    first = build(halves, logit_scale=own)
    run(halves, first, range(3))
    second = build(halves, logit_scale=own)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(halves, second, range(3, 6))
    for name, value in through.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


def test_the_loss_scale_goes_on_from_its_state(build):
    """float16 on a GPU; here the scaler is switched on by hand. Overflows have halved the scale, good steps count."""

    def scaled(model: Toy) -> Optimizer:
        optimizer = build(model)
        optimizer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        return optimizer

    def run(model: Toy, optimizer: Optimizer, steps: range) -> list[float]:
        scales = []
        for step in steps:
            scale = float(optimizer.scale(torch.ones(())))
            give_gradients(model, math.inf if step in (1, 3) else 0.3 * scale)
            update = optimizer.update(torch.tensor(1.0), step)
            assert bool(update.applied) == (step not in (1, 3)) and not update.failed
            scales.append(scale)
        return scales

    through, halves = Toy(), Toy()
    expected = run(through, scaled(through), range(10))
    assert expected == [1024, 1024, 512, 512, 256, 256, 256, 512, 512, 512]
    first = scaled(halves)
    begun = run(halves, first, range(6))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = scaled(halves)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert begun + run(halves, second, range(6, 10)) == expected
    for name, value in through.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


def test_a_warmup_longer_than_the_run_is_one_clear_line(build):
    with pytest.raises(AmorlipError, match="warmup_steps is 10"):
        build(Toy(), schedule={"warmup_steps": 10})
