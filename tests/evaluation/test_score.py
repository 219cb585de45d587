"""One function scores all kinds of tasks, inside training and from files."""

from __future__ import annotations

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.evaluation import features, score
from amorlip.evaluation.feature_cache import FeatureCache
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.record import Scores
from tests.helpers.evaluation_sets import KINDS
from tests.helpers.fake_gpu import GPU, fake_gpu


def run(toy, made, kind, **keys):
    spec, folder = made[kind]
    predictions = keys.pop("predictions", None)
    keys = {"precision": "float32", "batch_size": 5, "workers": 0, **keys}
    encoder = Encoder(toy.model, toy.preprocess, toy.tokenizer, torch.device("cpu"), **keys)
    return score.evaluate(encoder, spec, folder, predictions=predictions)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_keys_ready_for_json(toy, made, kind):
    result = run(toy, made, kind)
    assert list(result.model_dump()) == [
        "main_metric", "value", "metrics", "samples", "samples_expected", "classes", "groups", "per_class",
        "interval95", "seconds", "images_per_s",
    ]  # fmt: skip
    assert Scores.model_validate_json(json.dumps(result.model_dump(), allow_nan=False)) == result
    assert result.main_metric == KINDS[kind]
    assert result.value == result.metrics[KINDS[kind]]
    assert result.samples == (3 if kind == "association" else 24)
    assert result.images_per_s == pytest.approx((21 if kind == "association" else 24) / result.seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_usable_inside_training(toy, made, kind):
    toy.model.train()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first, second = run(toy, made, kind), run(toy, made, kind)
    assert first.metrics == second.metrics
    assert toy.model.training and toy.model.dropout.training
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()
    toy.model.encode_text(toy.tokenizer(["still trains"])).sum().backward()


@pytest.mark.parametrize("kind", ["classification_grouped", "association"])
def test_workers_and_precision_change_nothing_on_a_cpu(toy, made, kind):
    def without_time(result):
        return result.model_dump(exclude={"seconds", "images_per_s"})

    assert without_time(run(toy, made, kind, workers=2, precision="float16")) == without_time(run(toy, made, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_written(toy, made, kind, tmp_path):
    path = tmp_path / "out" / "predictions.parquet"
    result = run(toy, made, kind, predictions=path)
    rows = pd.read_parquet(path)
    assert len(rows) == {"retrieval": 24 + 48, "association": 3}.get(kind, 24)
    if kind.startswith("classification"):
        assert rows["correct"].mean() == result.metrics["acc1"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_all_scores_on_request(toy, made, kind, tmp_path):
    """They decide as the other columns say, which stay as they were."""
    run(toy, made, kind, predictions=tmp_path / "plain.parquet")
    run(toy, made, kind, predictions=tmp_path / "full.parquet", full=True)
    plain, full = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("plain", "full"))
    pd.testing.assert_frame_equal(full[plain.columns], plain)
    for row in full.itertuples():
        scores = np.array(row.scores)
        if kind.startswith("classification"):
            assert scores.argmax() == row.prediction and (scores > scores[row.label]).sum() == row.rank
        elif kind == "association":
            chosen = np.array(row.chosen)
            assert scores[chosen].min() >= scores[~chosen].max() and len(scores) == len(row.candidates)
        else:
            assert (np.diff(scores) <= 0).all() and len(row.best) == len(scores) == 10
            own = row.Index // 2 if row.retrieved == "image" else row.Index - 48
            owners = row.best if row.retrieved == "image" else row.best // 2
            assert (own in owners) == (row.rank < 10)


def test_class_embeddings_are_kept_for_the_next_task(toy, made, tmp_path, monkeypatch):
    first = run(toy, made, "classification", cache=FeatureCache(tmp_path / "classes", "toy"))
    monkeypatch.setattr(toy.model, "encode_text", None)
    second = run(toy, made, "classification_grouped", cache=FeatureCache(tmp_path / "classes", "toy"))
    assert second.per_class == first.per_class
    assert first.images_per_s > 0 and second.images_per_s is None


def test_no_speed_is_given_for_images_that_were_not_encoded(toy, made, tmp_path):
    """Its class embeddings differ, so the second set takes only the images' features from the first."""
    spec, folder = made["classification"]
    made["classification"] = (spec.model_copy(update={"shared_images": True}), folder)
    first = run(toy, made, "classification", cache=FeatureCache(tmp_path / "features", "toy"))
    (folder / "zeroshot_classification_templates.txt").write_text("the {c}")
    second = run(toy, made, "classification", cache=FeatureCache(tmp_path / "features", "toy"))
    assert first.images_per_s > 0 and second.images_per_s is None and second.seconds > 0


def test_a_failed_evaluation_leaves_no_predictions(toy, made, tmp_path):
    spec, folder = made["classification"]
    (folder / "test" / "0.tar").write_bytes(b"")
    with pytest.raises(AmorlipError):
        run(toy, made, "classification", predictions=tmp_path / "predictions.parquet")
    assert not (tmp_path / "predictions.parquet").exists()


def test_a_main_metric_that_the_set_cannot_give(toy, made, task, sets, tmp_path):
    folder = sets.classification(tmp_path / "few", sets.pictures(4), [0, 1, 2, 3], list("abcd"), ["a {c}"])
    made["classification"] = (task("classification", "acc5"), folder)
    with pytest.raises(AmorlipError, match="cannot give the main metric 'acc5'.*acc1, "):
        run(toy, made, "classification")


def test_a_folder_that_is_missing(toy, made, tmp_path):
    made["retrieval"] = (made["retrieval"][0], tmp_path / "nowhere")
    with pytest.raises(AmorlipError, match="nowhere does not exist"):
        run(toy, made, "retrieval")


@pytest.mark.parametrize("kind", KINDS)
def test_an_openclip_model(made, kind):
    model = models.create("demo", seed=0)
    spec, folder = made[kind]
    encoder = Encoder(
        model, models.eval_transform(model), models.tokenizer("demo"), torch.device("cpu"), "float32", 16, workers=0
    )
    result = score.evaluate(encoder, spec, folder)
    assert 0 <= result.value <= 1
    assert model.training


class OnlyRank:
    """A share of all batches."""

    rank, size = 0, 1

    def exchange(self, work):
        return [work()]


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_all_tensors_are_there(toy, made, tmp_path, monkeypatch, kind):
    """The GPU is a fake; the scores are those of the CPU. With a cache, written once and read once, and as a rank."""
    without_pinning = lambda *arguments, pin_memory, **keys: batches(*arguments, **keys)  # noqa: E731
    batches = features.batches
    monkeypatch.setattr(features, "batches", without_pinning)
    expected = run(toy, made, kind)
    with fake_gpu():
        toy.model.to("cuda")
        cached = {"cache": FeatureCache(tmp_path / "features", "toy")}
        for keys in (cached, cached, {"share": OnlyRank()}):
            encoder = Encoder(
                toy.model.eval(), toy.preprocess, toy.tokenizer, GPU, "float32", batch_size=8, workers=0, **keys
            )
            found = score.evaluate(encoder, *made[kind])
            assert found.metrics == pytest.approx(expected.metrics)
