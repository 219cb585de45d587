"""Pictures and tokens that are kept from one evaluation of a set to the next."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.evaluation import images, kept
from amorlip.evaluation.kept import KeptInputs
from amorlip.tasks.read import LabeledImage
from tests.helpers.set_layouts import SIDE

TEXTS = [f"text {n}" for n in range(20)]


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Where each picture that was decoded is from."""
    found, decode = [], images._open
    monkeypatch.setattr(images, "_open", lambda record, how: found.append(record.key) or decode(record, how))
    return found


def evaluate(encoder, records):
    parts = list(encoder.images(records, "drop"))
    return torch.cat([part for part, _ in parts]), [key for _, batch in parts for key in batch.keys]


def records_of(sets, count=19):
    pictures = sets.pictures(count)
    return lambda: iter([LabeledImage(str(n), "here", partial(bytes, sets.encode(p))) for n, p in enumerate(pictures)])


def test_pictures_are_decoded_once_and_encoded_each_time(encoder, toy, sets, opened):
    again = dataclasses.replace(encoder, kept=KeptInputs())
    records = records_of(sets)
    first, keys = evaluate(again, records)
    assert torch.equal(first, evaluate(encoder, records)[0])
    assert len(opened) == 2 * 19
    with torch.no_grad():
        toy.model.image.mul_(torch.linspace(1, 2, len(toy.model.image))[:, None])
    second, keys_again = evaluate(again, records)
    assert len(opened) == 2 * 19 and keys == keys_again
    assert not torch.equal(first, second) and torch.equal(second, evaluate(encoder, records)[0])


@pytest.mark.parametrize("room", [0, 8 * 3 * SIDE**2])
def test_what_does_not_fit_is_decoded_each_time(encoder, sets, opened, room):
    again, records = dataclasses.replace(encoder, kept=KeptInputs(room)), records_of(sets)
    first, second = evaluate(again, records), evaluate(again, records)
    assert torch.equal(first[0], second[0]) and first[1] == second[1]
    assert len(opened) == 2 * 19
    assert again.kept.room == room


def test_what_was_not_read_to_its_end_is_not_kept(encoder, sets, opened):
    def broken():
        yield from records_of(sets, 8)()
        raise AmorlipError("a damaged shard")

    again = dataclasses.replace(encoder, kept=KeptInputs())
    with pytest.raises(AmorlipError, match="damaged"):
        evaluate(again, broken)
    assert len(evaluate(again, records_of(sets))[1]) == 19


@pytest.mark.parametrize(("room", "calls"), [(None, 3), (0, 6)])
def test_tokens_are_kept(encoder, room, calls):
    tokenized = []
    tokenize = encoder.tokenizer
    counted = dataclasses.replace(
        encoder, tokenizer=lambda texts: tokenized.append(len(texts)) or tokenize(texts), kept=KeptInputs(room)
    )
    assert torch.equal(counted.texts(TEXTS), encoder.texts(TEXTS))
    assert torch.equal(counted.texts(TEXTS), encoder.texts(TEXTS))
    assert len(tokenized) == calls
    assert torch.equal(counted.texts(TEXTS[::-1]), encoder.texts(TEXTS[::-1]))


def test_a_job_keeps_a_part_of_its_own_memory(monkeypatch):
    monkeypatch.setattr(kept, "available_mib", lambda: 400.0)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    assert KeptInputs().room == 100 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "200")
    assert KeptInputs().room == 50 * 2**20
