"""An evaluation that ranks share against the same one in a single process."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.evaluation import features, images, score
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.kept import KeptInputs
from amorlip.training import records
from amorlip.training.distributed import World
from amorlip.training.ranks import RENDEZVOUS
from amorlip.training.sharing import Sharing
from tests.helpers import evaluation_sets, forked_ranks, forks, tiny
from tests.helpers.evaluation_sets import KINDS, ToyTransform, toy_tokenizer

pytestmark = pytest.mark.distributed

BATCHES = {5: "5 of images", 12: "2, so that a third rank has none", 24: "1"}
"""Batch size → batches of the miniatures' 24 images (21 in association)."""
TIMES = {"seconds", "images_per_s"}


def encoder_of(model: nn.Module, world: World, sharing: Sharing | None = None, **keys) -> Encoder:
    share = sharing if world.size > 1 else None
    keys = {"tokenizer": toy_tokenizer, "batch_size": 5, "workers": 0, **keys}
    return Encoder(model, ToyTransform(), device=world.device, precision="float32", share=share, **keys)


def evaluate(model: nn.Module, world: World, kind_of_task, folder: Path | None = None, **keys) -> dict:
    """All of the scores but times; in `folder` the rows with all similarities."""
    sharing, predictions = Sharing(world), folder / f"{world.rank}.parquet" if folder else None
    encoder = encoder_of(model, world, sharing, full=folder is not None, **keys)
    scores = sharing.evaluate(lambda: score.evaluate(encoder, *kind_of_task, predictions=predictions))
    return scores.model_dump(exclude=TIMES)


def test_every_kind_of_evaluator_is_tested():
    assert KINDS.keys() == score.EVALUATORS.keys()


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_find_what_one_process_finds(toy, made, tmp_path, monkeypatch, kind, size):
    """Bit for bit, in scores and similarities, whether or not the batches can be divided evenly."""
    monkeypatch.setattr(features, "PROMPTS_AT_ONCE", 4)  # so that class embeddings take several exchanges

    def everything(world: World) -> list:
        folder = tmp_path / str(world.size)
        return [
            evaluate(toy.model, world, made[kind], folder / str(batch), batch_size=batch, workers=2 * (batch == 5))
            for batch in BATCHES
        ]

    [alone], shared = (forked_ranks.run(n, tmp_path / f"{n} ranks", everything) for n in (1, size))
    assert alone.error is None
    for rank, found in enumerate(shared):
        assert found == alone
        for batch in BATCHES:
            rows = (
                pd.read_parquet(tmp_path / f"{path}.parquet") for path in (f"1/{batch}/0", f"{size}/{batch}/{rank}")
            )
            pd.testing.assert_frame_equal(*rows, check_exact=True)


def test_each_rank_decodes_and_encodes_its_share_only_and_keeps_it(toy, made, tmp_path, monkeypatch):
    """Twice, as after two epochs: the second time nothing is decoded or tokenized again."""

    def counted(world: World) -> list:
        opened, encoded, tokenized, decode = [], [], [], images._open
        monkeypatch.setattr(images, "_open", lambda record, how: opened.append(record.key) or decode(record, how))
        encode, kept = toy.model.encode_image, KeptInputs()
        toy.model.encode_image = lambda pixels, normalize: encoded.append(len(pixels)) or encode(pixels)
        tokenizer = lambda texts: tokenized.append(len(texts)) or toy_tokenizer(texts)  # noqa: E731
        for _ in range(2):
            evaluate(toy.model, world, made["retrieval"], kept=kept, tokenizer=tokenizer)
        return [len(opened), encoded, tokenized]

    first, second = forked_ranks.run(2, tmp_path / "ranks", counted)
    # of 5 batches of images and 10 of texts
    assert first.result == [14, [5, 5, 4] * 2, [5, 5, 5, 5, 5]]
    assert second.result == [10, [5, 5] * 2, [5, 5, 5, 5, 3]]


class Normed(evaluation_sets.ToyModel):
    """With BatchNorm after the images' features."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(evaluation_sets.WIDTH)

    def encode_image(self, image, normalize=False):
        return self.norm(super().encode_image(image))


def with_statistics_of(rank: int) -> Normed:
    model, generator = Normed(), torch.Generator().manual_seed(rank)
    model.norm.running_mean.normal_(0, 5, generator=generator)
    model.norm.running_var.uniform_(0.1, 9, generator=generator)
    model.norm.num_batches_tracked.fill_(rank)
    return model


def test_all_ranks_use_the_running_statistics_of_rank_0_and_get_their_own_back(made, tmp_path):
    def shared(world: World) -> list:
        model = with_statistics_of(world.rank)
        with Sharing(world).buffers_of_main(model):
            found = evaluate(model, world, made["association"])
        return [found, model.state_dict()]

    scores = [
        evaluate(with_statistics_of(rank).eval(), World(torch.device("cpu")), made["association"]) for rank in range(2)
    ]
    assert scores[0] != scores[1]
    for rank, (found, error) in enumerate(forked_ranks.run(2, tmp_path / "ranks", shared)):
        assert error is None
        assert found[0] == scores[0]
        expected = with_statistics_of(rank).state_dict()
        assert all(torch.equal(found[1][name], expected[name]) for name in expected)


# ---------------------------------------------------------------- trouble


def a_damaged_picture(toy, sets, folder: Path) -> None:
    """In the second batch of five, which is rank 1's."""
    path, picture = folder / "test" / "0.tar", sets.encode(sets.pictures(24)[7])
    path.write_bytes(path.read_bytes().replace(picture, bytes(len(picture))))


def labels_that_have_no_name(toy, sets, folder: Path) -> None:
    (folder / "classnames.txt").write_text("one\ntwo\n")


def a_missing_file(toy, sets, folder: Path) -> None:
    (folder / "classnames.txt").unlink()


def a_set_without_samples(toy, sets, folder: Path) -> None:
    sets.write_tar(folder / "test" / "0.tar", [])


def weights_that_are_not_finite(toy, sets, folder: Path) -> None:
    toy.model.image.data.fill_(torch.nan)


FAULTS = {
    a_damaged_picture: "test/0.tar: sample 's0000007': not an image;",
    labels_that_have_no_name: "the label 2 is not one of the 2 classes",
    a_set_without_samples: "the shards hold no samples",
    a_missing_file: "classnames.txt is missing",
    weights_that_are_not_finite: "the model's features are not finite",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_once_and_ends_all_ranks(toy, made, sets, tmp_path, fault):
    fault(toy, sets, made["classification"][1])
    ended = forked_ranks.run(3, tmp_path / "ranks", lambda world: evaluate(toy.model, world, made["classification"]))
    told = [rank.error for rank in ended if rank.error != "PeerLost: "]
    assert len(told) == 1 and told[0].startswith("AmorlipError: ") and FAULTS[fault] in told[0], ended


PLACES = ("before", "in the exchange", "after")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("failing", [(0,), (1,), (1, 2), (0, 1, 2)])
def test_ranks_agree_on_who_tells_wherever_it_happens(tmp_path, place, failing):
    def work(world: World) -> list:
        def fail(now: str) -> torch.Tensor:
            if now == place and world.rank in failing:
                raise AmorlipError(f"{now}, rank {world.rank}")
            return torch.ones(1)

        def evaluation() -> list:
            fail("before")
            found = sharing.exchange(lambda: fail("in the exchange"))
            fail("after")
            return found

        sharing = Sharing(world)
        return sharing.evaluate(evaluation)

    errors = [rank.error for rank in forked_ranks.run(3, tmp_path / "ranks", work)]
    lost = ["PeerLost: "] * 3
    lost[failing[0]] = f"AmorlipError: {place}, rank {failing[0]}"
    assert errors == lost


# ---------------------------------------------------------------- whole runs

TASKS = ["classification_grouped", "retrieval"]


def train(folder: Path, shards: Path, tasks: dict, patch=lambda rank: None) -> list[int]:
    """A model with BatchNorm on two ranks, with evaluations of `tasks`; the exit codes."""
    run = tiny.make_run(epoch_tasks=list(tasks), ranks=2, checkpoint_every_steps=5)
    meeting = folder.parent / f"{folder.name}-{time.monotonic_ns()}"

    def prepare(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", GLOO_SOCKET_IFNAME="lo")
        os.environ[RENDEZVOUS] = f"file://{meeting}"
        patch(rank)

    children = [forks.start(run, shards, folder, lambda rank=rank: prepare(rank), tasks) for rank in (0, 1)]
    return [forks.end(child) for child in children]


def draw_random_numbers(rank: int) -> None:
    """In evaluations, which should not: on each rank another count."""
    evaluate = score.evaluate
    score.evaluate = lambda *given: [torch.rand(3 + rank), evaluate(*given)][1]


def kill_rank_1(rank: int) -> None:
    """In the evaluation after the second epoch."""
    calls, evaluate = itertools.count(), score.evaluate

    def killed(*given):
        if next(calls) == len(TASKS) and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(*given)

    score.evaluate = killed


def generators(folder: Path) -> list[dict]:
    """The ranks' random generators in the last checkpoint."""
    [path] = folder.glob("checkpoints/*/step-00000015.pt")
    return torch.load(path, weights_only=True)["session"]["rng"]


def test_shared_evaluations_change_nothing_of_a_run_and_are_those_of_its_weights(made, tmp_path):
    shards, tasks = tiny.write_corpus(tmp_path / "train"), {name: made[name] for name in TASKS}
    assert train(tmp_path / "plain", shards, {}) == [0, 0]
    assert train(tmp_path / "evaluated", shards, tasks, draw_random_numbers) == [0, 0]
    assert forks.weights(tmp_path / "plain") == forks.weights(tmp_path / "evaluated")
    for plain, evaluated in zip(generators(tmp_path / "plain"), generators(tmp_path / "evaluated"), strict=True):
        assert torch.equal(plain["torch"], evaluated["torch"])
    loaded = models.load(tmp_path / "evaluated" / "model.safetensors", "tiny")
    parts = loaded.network, loaded.preprocess, loaded.tokenizer, torch.device("cpu"), "float32"
    encoder = Encoder(*parts, batch_size=4, workers=0)
    expected = {name: score.evaluate(encoder, *task).metrics for name, task in tasks.items()}
    epochs = [r for r in records.read(tmp_path / "evaluated" / "metrics.jsonl") if isinstance(r, records.EpochRecord)]
    assert len(epochs) == 3 and epochs[-1].tasks == expected

    resumed = tmp_path / "resumed"
    assert train(resumed, shards, tasks, kill_rank_1) == [1, -signal.SIGKILL]
    assert "ranks.PeerLost" in (tmp_path / "resumed.err").read_text()
    assert train(resumed, shards, tasks) == [0, 0]
    assert forks.ending(resumed) == forks.ending(tmp_path / "evaluated")
