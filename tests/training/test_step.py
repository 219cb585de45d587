"""One step: features, gradients, micro-batches."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
import torchvision
from torch import nn

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import OBJECTIVES
from amorlip.loader.loader import Batch
from amorlip.objectives import registry
from amorlip.objectives.base import Context
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer
from amorlip.training.progress import Window
from amorlip.training.step import Encoders, TrainStep
from tests.helpers.fake_gpu import GPU, fake_gpu
from tests.helpers.waits import Waits

WORLD = World(torch.device("cpu"))
PAIRS, SIDE, LENGTH = 8, 32, 12


def transformer(seed: int = 0, **changes: object) -> nn.Module:
    """A model without BatchNorm, so that each pair's features are independent of the others."""
    torch.manual_seed(seed)
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": SIDE, **changes}
    text = {"context_length": LENGTH, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(24, vision, text)
    model.visual.preprocess_cfg = {"size": SIDE, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
    return model


def normalized(images: torch.Tensor, model: nn.Module) -> torch.Tensor:
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
    def build(
        model: nn.Module, objective: str = "clip", settings: dict | None = None, world: World = WORLD, **recipe
    ) -> TrainStep:
        base = {"optimizer": {"lr": 1e-2, "weight_decay": 0.1}, "schedule": {"warmup_steps": 0}}
        run = make_run(objective, settings, **{**base, **recipe})
        context = Context(24, samples=PAIRS, batch_size=PAIRS, epochs=3, steps_per_epoch=5, seed=0, device=world.device)
        loss = registry.create(run.objective, run.settings, context)
        loss.start_epoch(0)
        return TrainStep(model, loss, Optimizer(model, run.recipe, steps=15, world=world), run.recipe, world)

    return build


def test_clip_gradients_equal_plain_infonce(build):
    """Against the textbook loss on float64 copies of the towers."""
    model = transformer()
    reference = copy.deepcopy(model).double()
    build(model, optimizer={"lr": 1e-30})(batch(), step=0, epoch=0, log=False)
    images, tokens, _ = batch()
    image = reference.encode_image(normalized(images, model), normalize=True)
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
            reference.visual(normalized(part, reference).float())
    for name, value in reference.visual.named_buffers():
        found = step.model.visual.get_buffer(name)
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5, msg=name)


def test_features_are_float32_of_unit_length():
    """Though the towers' are not, as under autocast."""
    model = transformer()
    model.encode_image, model.encode_text = (
        lambda x, tower=tower: tower(x).bfloat16() for tower in (model.encode_image, model.encode_text)
    )
    encoders = Encoders(model)
    images, tokens, _ = batch()
    for features in encoders(images, tokens):
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(PAIRS))


def test_normalization_adds_nothing_to_what_is_exported():
    model = models.create("tiny", seed=0)
    names = set(model.state_dict())
    encoders = Encoders(model)
    assert set(model.state_dict()) == names
    assert set(encoders.state_dict()) == {f"model.{name}" for name in names}


def test_the_logit_bias_is_trained_only_if_the_objective_uses_it(build):
    model = transformer()
    model.logit_bias = nn.Parameter(torch.tensor(-10.0))
    build(model)(batch(), step=0, epoch=0, log=False)
    assert model.logit_bias.item() == -10.0


def test_recomputed_activations_change_nothing(build):
    """Whole steps of a model with BatchNorm, in micro-batches."""
    trained = []
    for recompute in (False, True):
        step = build(models.create("tiny", seed=0), micro_batch_size=4, activation_checkpointing=recompute)
        for k in range(2):
            step(batch(vocabulary=49408), step=k, epoch=0, log=False)
        trained.append(step.model.state_dict())
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name]), name


@pytest.mark.parametrize("micro", [None, 2])
def test_too_little_memory_is_one_clear_line(build, micro):
    model = transformer()

    def exhausted(_images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    model.encode_image = exhausted
    step = build(model, micro_batch_size=micro)
    pairs = micro or PAIRS
    with pytest.raises(AmorlipError) as caught:
        step(batch(), step=4, epoch=0, log=False)
    assert str(caught.value) == (
        f"step 5: the GPU's memory does not hold a pass of {pairs} pairs; "
        f"set micro_batch_size to a divisor of {pairs} below it, or activation_checkpointing to true"
    )


METHODS = {name: {"prototypes": 4, "t_u": 1} if name == "neuclip" else {} for name in OBJECTIVES}


@pytest.mark.parametrize("micro", [None, 4])
@pytest.mark.parametrize("objective", METHODS)
def test_nothing_waits_for_the_gpu_between_logging_windows(build, objective, micro, monkeypatch):
    model = transformer()
    model.logit_bias = nn.Parameter(torch.tensor(-10.0))
    scale = {"lr": 1e-3, "drop": {"temperature": 0.05, "factor": 0.5}}
    optimizer = {"lr": 1e-2, "grad_clip": 1.0}
    step = build(model, objective, METHODS[objective], micro_batch_size=micro, logit_scale=scale, optimizer=optimizer)
    window = Window(WORLD.device)
    for name in ("tolist", "numpy", "cpu"):  # these read a CPU tensor without an operator
        monkeypatch.setattr(torch.Tensor, name, lambda _tensor: pytest.fail("a tensor was read"))
    for k in range(7):
        if k == 5:
            step.objective.start_epoch(1)
        with Waits(step.objective) as waits:
            window.add(step(batch(k), step=k, epoch=k // 5, log=False).update, k + 1)
        assert not waits.found, (k, waits.found)


@pytest.mark.parametrize("objective", METHODS)
def test_on_a_gpu_all_tensors_are_there_and_none_is_waited_for(build, objective):
    """A model with BatchNorm and one without, from a first step that replaces no prototypes; the GPU is a fake."""
    convolutional = transformer(layers=[1, 1, 1, 1], width=8)
    for model, extra in ((convolutional, {}), (transformer(), {"micro_batch_size": 4})):
        model.logit_bias = nn.Parameter(torch.tensor(-10.0))
        scale = {"lr": 1e-3, "drop": {"temperature": 0.05, "factor": 0.5}}
        with fake_gpu() as waits:
            model.to("cuda")
            step = build(model, objective, METHODS[objective], World(GPU), logit_scale=scale, compile="never", **extra)
            window, feed = Window(GPU), Batch(*(tensor.to("cuda") for tensor in batch()))
            for k in (1, 2, 5):
                step.objective.start_epoch(k // 5)
                waits.clear()
                outcome = step(feed, step=k, epoch=k // 5, log=k == 2)
                window.add(outcome.update, k)
                assert waits == [], (k, waits)
            assert outcome.update.applied.device == GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU is waited for")
@pytest.mark.parametrize("objective", METHODS)
def test_cuda_sees_no_waiting_either(build, objective):
    device = torch.device("cuda")
    step = build(transformer().to(device), objective, METHODS[objective], world=World(device))
    window = Window(device)
    for k in range(7):
        if k == 5:
            step.objective.start_epoch(1)
        on_device = Batch(*(tensor.to(device) for tensor in batch(k)))
        torch.cuda.set_sync_debug_mode("error" if k else "default")  # the first step sets things up
        try:
            window.add(step(on_device, step=k, epoch=k // 5, log=False).update, k + 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
