"""Class embeddings are computed once for equal models, names and templates, features of images once for equal files."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from amorlip.evaluation import classification
from amorlip.evaluation.feature_cache import FeatureCache

NAMES, TEMPLATES = ["cat", "dög", "ox"], ["a {c}", "{c}"]


@pytest.fixture
def cached(encoder, tmp_path):
    return dataclasses.replace(encoder, cache=FeatureCache(tmp_path / "classes", "weights of a model"))


@pytest.fixture
def encoded(toy, monkeypatch):
    """Numbers of texts that the model has encoded, call by call."""
    seen = []
    encode = toy.model.encode_text
    monkeypatch.setattr(toy.model, "encode_text", lambda text, **keys: seen.append(len(text)) or encode(text, **keys))
    return seen


def test_equal_to_what_is_computed_and_computed_once(encoder, cached, encoded):
    expected = encoder.classes(NAMES, TEMPLATES)
    for _ in range(3):
        assert torch.equal(cached.classes(NAMES, TEMPLATES), expected)
    assert encoded == [6, 6]


@pytest.mark.parametrize(
    "change",
    [
        lambda cached: cached.classes([*NAMES[:2], "cow"], TEMPLATES),
        lambda cached: cached.classes(NAMES[::-1], TEMPLATES),
        lambda cached: cached.classes(NAMES, TEMPLATES[:1]),
        lambda cached: dataclasses.replace(cached, precision="bfloat16").classes(NAMES, TEMPLATES),
        lambda cached: dataclasses.replace(cached, cache=dataclasses.replace(cached.cache, identity="others")).classes(
            NAMES, TEMPLATES
        ),
    ],
)
def test_another_key_is_computed(cached, encoded, change):
    cached.classes(NAMES, TEMPLATES)
    change(cached)
    assert len(encoded) == 2


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_file_is_replaced(cached, encoded, content):
    expected = cached.classes(NAMES, TEMPLATES)
    (path,) = cached.cache.folder.iterdir()
    path.write_bytes(content)
    assert torch.equal(cached.classes(NAMES, TEMPLATES), expected)
    assert torch.equal(cached.classes(NAMES, TEMPLATES), expected)
    assert len(encoded) == 2


def images_of(toy, monkeypatch):
    """Numbers of images that the model encodes, call by call."""
    seen = []
    encode = toy.model.encode_image
    monkeypatch.setattr(
        toy.model, "encode_image", lambda image, **keys: seen.append(len(image)) or encode(image, **keys)
    )
    return seen


def test_two_tasks_of_the_same_images(cached, encoder, toy, sets, task, tmp_path, monkeypatch):
    """As CLEVR's counts and distances: other classes and labels, equal files; the results are those of each alone."""
    pictures, spec = sets.pictures(20), task("classification", "acc1", shared_images=True)
    one = sets.classification(tmp_path / "1", pictures, [n % 3 for n in range(20)], ["a", "b", "c"], ["{c}"], shards=2)
    two = sets.classification(tmp_path / "2", pictures, [n % 2 for n in range(20)], ["far", "near"], ["{c}."])
    other = sets.classification(tmp_path / "3", pictures[::-1], [0] * 20, ["far", "near"], ["{c}."])
    alone = [classification.evaluate(encoder, spec, folder) for folder in (one, two)]
    seen = images_of(toy, monkeypatch)
    together = [classification.evaluate(cached, spec, folder) for folder in (one, two)]
    assert seen == [8, 8, 4]
    for first, second in zip(alone, together, strict=True):
        assert first.metrics == second.metrics and first.rows.equals(second.rows)
    classification.evaluate(cached, spec, other)
    assert seen == [8, 8, 4] * 2
    classification.evaluate(cached, task("classification", "acc1"), one)
    assert seen == [8, 8, 4] * 3
