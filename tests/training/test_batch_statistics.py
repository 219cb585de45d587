"""What micro-batches change for a model with BatchNorm, and by how much."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from amorlip import models
from amorlip.config.run import Run
from amorlip.loader.loader import Batch
from amorlip.objectives import registry
from amorlip.objectives.base import Context
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer
from amorlip.training.step import TrainStep

WORLD = World(torch.device("cpu"))
PAIRS, EMBED_DIM = 32, 16


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (PAIRS, 3, 32, 32), generator=generator, dtype=torch.uint8)
    # Pictures of their own brightness each, as without it parts of the batch hardly differ in their statistics.
    images = (levels * torch.rand(PAIRS, 1, 1, 1, generator=generator)).to(torch.uint8)
    tokens = torch.randint(1, 49408, (PAIRS, 12), generator=generator)
    return Batch(images, tokens, torch.arange(PAIRS))


def gradients(make_run, model: nn.Module, micro_batch_size: int | None) -> list[torch.Tensor]:
    run: Run = make_run("clip", batch_size=PAIRS, micro_batch_size=micro_batch_size, optimizer={"lr": 1e-30})
    context = Context(EMBED_DIM, samples=PAIRS, batch_size=PAIRS, epochs=3, steps_per_epoch=5, seed=0)
    objective = registry.create(run.objective, run.settings, context)
    step = TrainStep(model, objective, Optimizer(model, run.recipe, steps=15, world=WORLD), run.recipe, WORLD)
    step(batch(), step=0, epoch=0, log=False)
    return [parameter.grad.detach() for parameter in model.parameters()]


def plain_gradients(model: nn.Module, part: int) -> list[torch.Tensor]:
    """Autograd of InfoNCE over the whole batch, the images passing the tower `part` at a time, in float64."""
    images, tokens, _ = batch()
    pixels = models.Normalization(model)(images).double()
    model = copy.deepcopy(model).double()
    image = torch.cat([model.encode_image(some, normalize=True) for some in pixels.split(part)])
    text = model.encode_text(tokens, normalize=True)
    logits, own = model.logit_scale.exp() * image @ text.T, torch.arange(PAIRS)
    (0.5 * (cross_entropy(logits, own) + cross_entropy(logits.T, own))).backward()
    return [parameter.grad.float() for parameter in model.parameters()]


def difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Norm of the difference, relative to that of `expected`."""
    flat, wanted = (torch.cat([gradient.flatten() for gradient in side]) for side in (found, expected))
    return float((flat - wanted).norm() / wanted.norm())


def test_each_part_is_normalized_by_itself(make_run):
    """The gradient is that of the whole batch's loss on the parts' own statistics, not on the batch's."""
    for part in (8, 16):
        found = gradients(make_run, models.create("tiny", seed=0), part)
        assert difference(found, plain_gradients(models.create("tiny", seed=0), part)) < 1e-3


def test_the_difference_to_whole_batches_grows_as_parts_shrink(make_run):
    """Parts of 16, 8 and 4 of 32 pairs: 32%, 87% and 110% of the gradient's norm, in this small untrained tower."""
    whole = gradients(make_run, models.create("tiny", seed=0), None)
    assert difference(whole, plain_gradients(models.create("tiny", seed=0), PAIRS)) < 1e-3
    measured = {
        part: difference(gradients(make_run, models.create("tiny", seed=0), part), whole) for part in (16, 8, 4)
    }
    assert 0.02 < measured[16] < measured[8] < measured[4]


def test_a_skipped_step_leaves_the_statistics_as_they_were(make_run):
    """An activation that overflows, as under float16; the next step is a good one."""
    model = models.create("tiny", seed=0)
    run: Run = make_run("clip", batch_size=PAIRS)
    context = Context(EMBED_DIM, samples=PAIRS, batch_size=PAIRS, epochs=3, steps_per_epoch=5, seed=0)
    objective = registry.create(run.objective, run.settings, context)
    step = TrainStep(model, objective, Optimizer(model, run.recipe, steps=15, world=WORLD), run.recipe, WORLD)
    assert step(batch(), step=0, epoch=0, log=False).update.applied
    before = {name: value.clone() for name, value in model.state_dict().items()}
    overflow = model.visual.conv1.register_forward_hook(lambda _module, _inputs, output: output * torch.inf)
    assert not step(batch(), step=1, epoch=0, log=False).update.applied
    overflow.remove()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert step(batch(), step=2, epoch=0, log=False).update.applied
    assert not torch.equal(model.visual.bn1.running_mean, before["visual.bn1.running_mean"])
    assert int(model.visual.bn1.num_batches_tracked) == 2
