"""Passes over the whole corpus between training steps."""

from __future__ import annotations

import copy
from itertools import islice

import pytest
import torch

from amorlip.common import files
from amorlip.training import loop, session, signals
from amorlip.training.distributed import World
from tests.helpers.tiny import PAIRS
from tests.training.test_loop import signal_at

CORPUS = {"estimator": "corpus", "corpus_every_steps": 2, "rho": 6.5}
PASS = PAIRS - PAIRS % 8


@pytest.mark.parametrize("recipe", [{}, {"micro_batch_size": 4}, {"model": "mini_resnet"}])
def test_a_pass_gives_the_features_of_all_pairs_and_changes_nothing(corpus, make_run, recipe):
    parts = session.build(make_run("amorlip_l2log", CORPUS, **recipe), corpus, World(torch.device("cpu")))
    before = copy.deepcopy(parts.model.state_dict())
    torch.manual_seed(5)
    parts.corpus.encode_if_due(0)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    after = parts.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    memory = parts.objective.memory
    known = memory.sample_ids >= 0
    assert int(known.sum()) == PASS  # whole batches
    assert torch.equal(memory.sample_ids[known], torch.arange(PAIRS)[known])
    lengths = memory.features[:, known].norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)


def test_passes_are_due_every_few_steps_and_leave_out_other_pairs(corpus, make_run):
    parts = session.build(make_run("amorlip_l2log", CORPUS), corpus, World(torch.device("cpu")))
    missing = []
    for step in range(5):
        parts.objective.memory.sample_ids.fill_(-1)
        parts.corpus.encode_if_due(step)
        missing.append(frozenset(torch.arange(PAIRS)[parts.objective.memory.sample_ids < 0].tolist()))
    assert [len(left) for left in missing] == [PAIRS - PASS, PAIRS, PAIRS - PASS, PAIRS, PAIRS - PASS]
    assert len(set(missing)) == 4


def test_features_are_those_of_the_encoders_in_training_mode(corpus, make_run):
    parts = session.build(make_run("amorlip_l2log", CORPUS), corpus, World(torch.device("cpu")))
    parts.corpus.encode_if_due(0)
    seen = []
    for batch in islice(parts.corpus.loader.batches(0), PASS // 8):
        assert parts.train_step.encoders.training
        with torch.no_grad():
            image, text = parts.train_step.encoders(batch.images, batch.tokens)
        found = parts.objective.memory.features[:, batch.sample_ids]
        assert torch.allclose(found, torch.stack([image, text]), atol=1e-5)
        seen += batch.sample_ids.tolist()
    assert len(set(seen)) == PASS


def test_crops_of_a_pass_are_not_those_of_the_steps(corpus, make_run):
    parts = session.build(make_run("amorlip_l2log", CORPUS), corpus, World(torch.device("cpu")))
    assert not torch.equal(next(parts.corpus.loader.batches(0)).images, next(parts.loader.batches(0)).images)


@pytest.mark.parametrize("step", [3, 6])
def test_an_interrupted_run_ends_in_the_same_weights(corpus, make_run, tmp_path, monkeypatch, step):
    run = make_run("amorlip_l2log", {**CORPUS, "corpus_every_steps": 4})
    loop.train(run, corpus, tmp_path / "whole", {})
    with monkeypatch.context() as patch:
        signal_at(patch, step)
        with pytest.raises(signals.Interrupted):
            loop.train(run, corpus, tmp_path / "stopped", {})
    loop.train(run, corpus, tmp_path / "stopped", {})
    ends = [files.sha256(tmp_path / name / "model.safetensors") for name in ("whole", "stopped")]
    assert ends[0] == ends[1]
