"""Features and class embeddings against float64 references."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from amorlip.common.errors import AmorlipError
from amorlip.evaluation import features
from amorlip.evaluation.features import evaluation_mode
from amorlip.tasks.read import LabeledImage

NAMES = ["cat", "dog", "street sign", "cat", "ox"]
TEMPLATES = ["a {c}", "{c}, drawn", "the {c}.", "{c}"]


def records(sets, pictures):
    return lambda: iter([LabeledImage(str(n), "here", partial(bytes, sets.encode(p))) for n, p in enumerate(pictures)])


def test_image_features(encoder, toy, sets):
    pictures = sets.pictures(19)
    parts = list(encoder.images(records(sets, pictures), "drop"))
    assert [len(part) for part, _ in parts] == [8, 8, 3]
    result = torch.cat([part for part, _ in parts])
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, toy.reference.images(pictures), atol=1e-6)


def test_text_features_in_order_and_equal_for_equal_texts(encoder, toy):
    texts = [f"{'abc'[n % 3]} {n % 11}" for n in range(30)] + ["a 0", "x", "a 0"]
    result = encoder.texts(texts)
    np.testing.assert_allclose(result, toy.reference.texts(texts), atol=1e-6)
    assert torch.equal(result[0], result[30]) and torch.equal(result[30], result[32])


def test_equal_texts_are_encoded_once(encoder, toy, monkeypatch):
    seen = []
    encode = toy.model.encode_text
    monkeypatch.setattr(toy.model, "encode_text", lambda text, **keys: seen.append(len(text)) or encode(text, **keys))
    encoder.texts(["same"] * 50 + ["other"])
    assert seen == [2]


@pytest.mark.parametrize("prompts_at_once", [1, 9, 4096])
def test_class_embeddings(encoder, toy, monkeypatch, prompts_at_once):
    monkeypatch.setattr(features, "PROMPTS_AT_ONCE", prompts_at_once)
    np.testing.assert_allclose(encoder.classes(NAMES, TEMPLATES), toy.reference.classes(NAMES, TEMPLATES), atol=1e-6)


def test_class_names_are_not_format_strings(encoder, toy):
    result = encoder.classes(["{c} {0}", "x"], ["a {c}"])
    np.testing.assert_allclose(result, toy.reference.texts(["a {c} {0}", "a x"]), atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(encoder, toy, sets, value):
    with torch.no_grad():
        toy.model.text[2, ord("d")] = value
        toy.model.image[5, 5] = value
    encoder.texts(["the cat"])
    with pytest.raises(AmorlipError, match="not finite"):
        encoder.texts(["the cat", "a dog"])
    with pytest.raises(AmorlipError, match="not finite"):
        list(encoder.images(records(sets, sets.pictures(2)), "drop"))


def test_a_cpu_computes_in_float32_with_any_precision(encoder):
    half = dataclasses.replace(encoder, precision="bfloat16")
    assert torch.equal(half.texts(["a dog"]), encoder.texts(["a dog"]))


def test_features_carry_no_gradient(encoder):
    assert not encoder.texts(["a dog"]).requires_grad


def test_modes_of_all_modules_are_restored():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()))
    model.train()
    model[1][0].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(KeyError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == before == [True, True, True, False, True]
