"""Texts without their padding: the same features and gradients, from fewer positions."""

from __future__ import annotations

import copy

import numpy as np
import open_clip
import pytest
import torch

from amorlip import models
from amorlip.objectives import registry
from amorlip.objectives.base import Context
from amorlip.training import text_padding, towers, transfer
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer
from amorlip.training.step import TrainStep
from tests.training.test_step import batch, transformer

CONTEXT, VOCABULARY = 24, 64


def clip(**text) -> torch.nn.Module:
    """CLIP, which is its own text tower."""
    return _model(open_clip.model.CLIP, **text)


def custom(**text) -> torch.nn.Module:
    """A model whose text tower is a module."""
    return _model(open_clip.model.CustomTextCLIP, **text)


def _model(kind, **text) -> torch.nn.Module:
    torch.manual_seed(0)
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    base = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2}
    return kind(24, vision, {**base, **text})


def captions(lengths: list[int], end: int = VOCABULARY - 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, VOCABULARY - 1, (len(lengths), CONTEXT), generator=generator)
    for row, length in zip(tokens, lengths, strict=True):
        row[length - 1] = end
        row[length:] = 0
    return tokens


LENGTHS = [24, 3, 8, 9, 16, 17, 4, 5, 2, 24, 12, 7]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(text_padding, "SMALLEST_PART", 3)


@pytest.mark.parametrize(
    ("build", "options", "end"),
    [
        (clip, {}, VOCABULARY - 1),
        (custom, {}, VOCABULARY - 1),
        (clip, {"pool_type": "eos", "eos_id": 2}, 2),
        (custom, {"pool_type": "eos", "eos_id": 2}, 2),
    ],
)
@pytest.mark.parametrize("marked", [False, True])
def test_features_and_gradients_are_those_of_the_whole_context(build, options, end, marked, small_parts):
    """In float64; with and without the causal flag, which only training's attention has."""
    model = build(**options).double()
    whole = copy.deepcopy(model)
    if marked:
        towers.mark_causal_attention(model)
    tokens = captions(LENGTHS, end)
    ends = text_padding.end_positions(model)(tokens)
    assert ends.tolist() == LENGTHS
    computed = []

    def encode(part: torch.Tensor) -> torch.Tensor:
        computed.append(tuple(part.shape))
        return text_padding.ShortTexts(model).encode_short_texts(part)

    ours, theirs = text_padding.encode_in_parts(encode, tokens, ends), whole.encode_text(tokens)
    assert computed == [(3, 8), (3, 8), (3, 16), (3, 24)]
    weight = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for features in (ours, theirs):
        (features * weight).sum().backward()
    assert (ours - theirs).norm() < 1e-12 * theirs.norm()
    for (name, mine), reference in zip(model.named_parameters(), whole.parameters(), strict=True):
        if reference.grad is not None:
            assert (mine.grad - reference.grad).norm() <= 1e-12 * max(reference.grad.norm(), 1e-3), name
    assert torch.equal(model.encode_text(tokens), whole.encode_text(tokens)), "the model is as before"


@pytest.mark.parametrize(
    "options",
    [{"no_causal_mask": True}, {"embed_cls": True}, {"pool_type": "first"}, {"pool_type": "last"}],
    ids=str,
)
def test_other_towers_are_computed_whole(options):
    assert text_padding.end_positions(custom(**options)) is None


@pytest.mark.parametrize("name", ["demo", "RN50"])
def test_the_models_that_are_trained_can_skip_padding(name):
    tokens = models.tokenizer(name)(["a red cat", "dog"])
    assert text_padding.end_positions(models.create(name, seed=0))(tokens).tolist() == [5, 3]


def test_few_lengths_and_equal_parts():
    """Each combination of rows and positions is compiled by itself."""
    generator = np.random.default_rng(0)
    for texts in (1024, 2048, 1000, 300, 7):
        ends = generator.integers(2, 78, texts)
        lengths = text_padding.part_lengths(ends, 77)
        assert texts % len(lengths) == 0 and len(lengths) <= text_padding.MOST_PARTS
        assert len(lengths) == 1 or texts // len(lengths) >= text_padding.SMALLEST_PART
        assert set(lengths) <= {*text_padding.LENGTHS, 77} and lengths == sorted(lengths)
    assert text_padding.part_lengths(np.full(1024, 9), 77) == [16] * 4
    assert len(text_padding.LENGTHS) + 1 < torch._dynamo.config.recompile_limit


@pytest.mark.parametrize("micro", [None, 4])
def test_a_step_gives_the_same_weights(micro, make_run, monkeypatch):
    """With ends in the batch, whole and in micro-batches."""
    monkeypatch.setattr(text_padding, "SMALLEST_PART", 2)
    weights = []
    for ends in (False, True):
        monkeypatch.setattr(towers, "skips_padding", lambda device, wanted=ends: wanted)
        model = transformer()
        step = _step(model, make_run, micro)
        assert (step.text_ends is not None) == ends
        [(given, text_ends)] = transfer.to_device(iter([batch()]), torch.device("cpu"), step.text_ends)
        step(given, text_ends=text_ends, step=0, epoch=0, log=False)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert (weights[0] - weights[1]).norm() < 1e-6 * weights[0].norm()


def _step(model, make_run, micro) -> TrainStep:
    # plain gradient descent would do; a large ε makes Adam nearly that, so that rounding is not blown up
    run = make_run("clip", optimizer={"lr": 1e-2, "eps": 1.0}, micro_batch_size=micro, batch_size=8)
    context = Context(24, samples=8, batch_size=8, epochs=3, steps_per_epoch=5, seed=0, device=torch.device("cpu"))
    world = World(torch.device("cpu"))
    objective = registry.create("clip", run.settings, context)
    return TrainStep(model, objective, Optimizer(model, run.recipe, steps=15, world=world), run.recipe, world)
