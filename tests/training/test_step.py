"""One step: features, gradients, micro-batches."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
import torchvision
from torch import nn

from amorlip import models
from amorlip.data.loader import Batch
from amorlip.errors import AmorlipError
from amorlip.objectives import registry
from amorlip.objectives.base import Context
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer
from amorlip.training.step import Encoders, TrainStep, frozen_running_statistics

WORLD = World(torch.device("cpu"))
PAIRS, SIDE, LENGTH = 8, 32, 12


def transformer(seed: int = 0) -> nn.Module:
    """A model without BatchNorm, so that each pair's features are independent of the others."""
    torch.manual_seed(seed)
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": SIDE}
    text = {"context_length": LENGTH, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(24, vision, text)
    model.visual.preprocess_cfg = {"size": SIDE, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
    return model


def normalised(images: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """float64, as torchvision's functions have it."""
    cfg = model.visual.preprocess_cfg
    return torchvision.transforms.functional.normalize(images.double() / 255, cfg["mean"], cfg["std"])


def batch(seed: int = 0, vocabulary: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (PAIRS, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(1, vocabulary, (PAIRS, LENGTH), generator=generator)
    return Batch(images, tokens, torch.arange(PAIRS))


@pytest.fixture
def build(make_run):
    def build(model: nn.Module, objective: str = "clip", settings: dict | None = None, **recipe) -> TrainStep:
        base = {"optimizer": {"lr": 1e-2, "weight_decay": 0.1}, "schedule": {"warmup_steps": 0}}
        run = make_run(objective, settings, **{**base, **recipe})
        context = Context(24, samples=PAIRS, batch_size=PAIRS, epochs=3, steps_per_epoch=5, seed=0)
        loss = registry.create(run.objective, run.settings, context)
        loss.start_epoch(0)
        return TrainStep(model, loss, Optimizer(model, run.recipe, steps=15, world=WORLD), run.recipe, WORLD)

    return build


def test_clip_gradients_equal_plain_infonce(build):
    """Against the textbook loss on float64 copies of the towers."""
    model = transformer()
    reference = copy.deepcopy(model).double()
    build(model, optimizer={"lr": 1e-30})(batch(), step=0, epoch=0, log=False)
    images, tokens, _ = batch()
    image = reference.encode_image(normalised(images, model), normalize=True)
    text = reference.encode_text(tokens, normalize=True)
    logits = reference.logit_scale.exp() * image @ text.T
    target = torch.arange(PAIRS)
    loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
    loss.backward()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert (ours.grad - theirs.grad).norm() <= 1e-5 * theirs.grad.norm(), name


def test_training_lowers_the_loss(build):
    step = build(transformer())
    losses = [step(batch(), step=k, epoch=0, log=False).update.loss.item() for k in range(12)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("objective", ["clip", "amorlip_l2log"])
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_micro_batches_give_the_gradient_of_the_whole_batch(build, objective, micro):
    whole, parts = transformer(), transformer()
    one = build(whole, objective)(batch(), step=0, epoch=0, log=True)
    two = build(parts, objective, micro_batch_size=micro)(batch(), step=0, epoch=0, log=True)
    torch.testing.assert_close(one.update.loss, two.update.loss)
    assert one.diagnostics.keys() == two.diagnostics.keys()
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 1e-4 * a.grad.norm(), name


def test_micro_batches_move_running_statistics_once(build):
    """As if the parts had passed through the image tower one after the other, once."""
    step = build(models.create("tiny", seed=0), micro_batch_size=4, optimizer={"lr": 1e-30})
    reference = models.create("tiny", seed=0)
    images, tokens, _ = batch(vocabulary=49408)
    step(Batch(images, tokens, torch.arange(PAIRS)), step=0, epoch=0, log=False)
    with torch.no_grad():
        for part in images.split(4):
            reference.visual(normalised(part, reference).float())
    for name, value in reference.visual.named_buffers():
        found = step.model.visual.get_buffer(name)
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5, msg=name)


def test_frozen_statistics_come_back():
    norm = nn.BatchNorm1d(3)
    x = torch.randn(10, 3)
    with frozen_running_statistics(norm):
        frozen = norm(x)
        assert torch.equal(norm.running_mean, torch.zeros(3))
    torch.testing.assert_close(frozen, norm(x))
    assert not torch.equal(norm.running_mean, torch.zeros(3))


def test_features_are_float32_of_unit_length():
    """Though the towers' are not, as under autocast."""
    model = transformer()
    model.encode_image, model.encode_text = (
        lambda x, tower=tower: tower(x).bfloat16() for tower in (model.encode_image, model.encode_text)
    )
    encoders = Encoders(model, "bfloat16")
    images, tokens, _ = batch()
    for features in encoders(images, tokens):
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(PAIRS))


def test_normalisation_adds_nothing_to_what_is_exported():
    model = models.create("tiny", seed=0)
    names = set(model.state_dict())
    encoders = Encoders(model, "float32")
    assert set(model.state_dict()) == names
    assert set(encoders.state_dict()) == {f"model.{name}" for name in names}


def test_the_logit_bias_is_trained_only_if_the_objective_uses_it(build):
    model = transformer()
    model.logit_bias = nn.Parameter(torch.tensor(-10.0))
    build(model)(batch(), step=0, epoch=0, log=False)
    assert model.logit_bias.item() == -10.0


def test_sizes_that_do_not_fit_are_one_clear_line(build):
    with pytest.raises(AmorlipError, match="micro_batch_size 3 does not divide a rank's 8 pairs"):
        build(transformer(), micro_batch_size=3)
    with pytest.raises(AmorlipError, match="batch_size 8 is not a multiple of the 3 ranks"):
        build(transformer(), ranks=3)
