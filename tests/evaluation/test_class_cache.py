"""Class embeddings are computed once for equal models, names and templates."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from amorlip.evaluation.class_cache import ClassCache

NAMES, TEMPLATES = ["cat", "dög", "ox"], ["a {c}", "{c}"]


@pytest.fixture
def cached(encoder, tmp_path):
    return dataclasses.replace(encoder, class_cache=ClassCache(tmp_path / "classes", "weights of a model"))


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
        lambda cached: dataclasses.replace(
            cached, class_cache=dataclasses.replace(cached.class_cache, identity="others")
        ).classes(NAMES, TEMPLATES),
    ],
)
def test_another_key_is_computed(cached, encoded, change):
    cached.classes(NAMES, TEMPLATES)
    change(cached)
    assert len(encoded) == 2


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_file_is_made_anew(cached, encoded, content):
    expected = cached.classes(NAMES, TEMPLATES)
    (path,) = cached.class_cache.folder.iterdir()
    path.write_bytes(content)
    assert torch.equal(cached.classes(NAMES, TEMPLATES), expected)
    assert torch.equal(cached.classes(NAMES, TEMPLATES), expected)
    assert len(encoded) == 2
