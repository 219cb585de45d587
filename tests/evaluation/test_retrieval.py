"""Retrieval ranks and recalls against full sorts of float64 scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.evaluation import retrieval
from amorlip.evaluation.retrieval import best_match_ranks, ranks_in_both_directions

CAPTIONS = [[f"word {image} {number}" for number in range(1 + image % 4)] for image in range(40)]


def sorted_ranks(scores, query_ids, item_ids):
    order = np.argsort(-scores, axis=1, kind="stable")
    return [int(np.flatnonzero(item_ids[order[row]] == query_ids[row])[0]) for row in range(len(scores))]


@pytest.mark.parametrize("scores_at_once", [1, 130, 2**22])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_ranks_against_a_full_sort(monkeypatch, scores_at_once, levels):
    """With 3 levels most scores are tied."""
    monkeypatch.setattr(retrieval, "SCORES_AT_ONCE", scores_at_once)
    generator = np.random.default_rng(0)
    queries, items = generator.integers(0, levels, (31, 2)), generator.integers(0, levels, (53, 2))
    query_ids = generator.permutation(31)
    item_ids = generator.permutation(np.concatenate([np.arange(31), generator.integers(0, 31, 22)]))
    result = best_match_ranks(
        *(torch.from_numpy(values) for values in (queries * 1.0, items * 1.0, query_ids, item_ids))
    )
    assert result.tolist() == sorted_ranks(queries @ items.T, query_ids, item_ids)


@pytest.mark.parametrize("kept", [0, 2**28])
@pytest.mark.parametrize("scores_at_once", [1, 130, 2**20])
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_both_directions_against_full_sorts(monkeypatch, scores_at_once, levels, kept):
    """Captions in any order; with few levels most scores are tied."""
    monkeypatch.setattr(retrieval, "SCORES_AT_ONCE", scores_at_once)
    monkeypatch.setattr(retrieval, "SCORES_KEPT", kept)
    generator = np.random.default_rng(1)
    texts, images = generator.integers(0, levels, (53, 2)), generator.integers(0, levels, (31, 2))
    image_of = generator.permutation(np.concatenate([np.arange(31), generator.integers(0, 31, 22)]))
    by_text, by_image = ranks_in_both_directions(
        *(torch.from_numpy(values) for values in (texts * 1.0, images * 1.0, image_of))
    )
    assert by_text.tolist() == sorted_ranks(texts @ images.T, image_of, np.arange(31))
    assert by_image.tolist() == sorted_ranks(images @ texts.T, np.arange(31), image_of)


def test_recalls_of_a_set(encoder, toy, sets, task, tmp_path):
    sets.retrieval(tmp_path, sets.pictures(40), CAPTIONS)
    result = retrieval.evaluate(encoder, task("retrieval", "mean_recall@5", samples=40), tmp_path)
    captions = [caption for texts in CAPTIONS for caption in texts]
    image_of = np.array([image for image, texts in enumerate(CAPTIONS) for _ in texts])
    scores = toy.reference.texts(captions) @ toy.reference.images(sets.pictures(40)).T
    image_ranks = np.array(sorted_ranks(scores, image_of, np.arange(40)))
    text_ranks = np.array(sorted_ranks(scores.T, np.arange(40), image_of))
    expected = {}
    for k in (1, 5, 10):
        expected[f"image_retrieval_recall@{k}"] = (image_ranks < k).mean()
        expected[f"text_retrieval_recall@{k}"] = (text_ranks < k).mean()
        expected[f"mean_recall@{k}"] = ((image_ranks < k).mean() + (text_ranks < k).mean()) / 2
    assert result.metrics == pytest.approx(expected, abs=1e-12)
    assert 0 < expected["mean_recall@5"] < 1
    assert (result.samples, result.images) == (40, 40)
    low, high = result.interval95
    assert low < result.metrics["mean_recall@5"] < high


def test_rows_give_the_recalls_again(encoder, sets, task, tmp_path):
    sets.retrieval(tmp_path, sets.pictures(40), CAPTIONS)
    result = retrieval.evaluate(encoder, task("retrieval", "mean_recall@1"), tmp_path)
    for retrieved in ("image", "text"):
        rows = result.rows[result.rows["retrieved"] == retrieved]
        assert rows["correct"].mean() == result.metrics[f"{retrieved}_retrieval_recall@1"]
        assert (rows["rank"] < 10).mean() == result.metrics[f"{retrieved}_retrieval_recall@10"]
    row = result.rows.iloc[3]
    assert (row["key"], row["caption"]) == ("s0000002", "word 2 0")


def test_any_of_an_images_captions_counts():
    """One image among two, its second caption on top."""
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, -1.0], [1.0, 0.0], [0.5, 0.5]])
    ids = torch.tensor([0, 0, 1])
    assert best_match_ranks(images, texts, torch.arange(2), ids).tolist() == [0, 0]
    assert best_match_ranks(texts, images, ids, torch.arange(2)).tolist() == [0, 0, 1]


@pytest.mark.parametrize("part", ["image", "text"])
def test_a_constant_model_is_no_better_than_chance(encoder, toy, sets, task, tmp_path, part):
    with torch.no_grad():
        getattr(toy.model, part).zero_()
    sets.retrieval(tmp_path, sets.pictures(20), [["a"], ["b", "c"]] * 10)
    metrics = retrieval.evaluate(encoder, task("retrieval", "mean_recall@1"), tmp_path).metrics
    assert metrics["text_retrieval_recall@1"] <= 1 / 20
    assert metrics["image_retrieval_recall@1"] <= 1 / 20
    assert metrics["mean_recall@10"] <= 0.5


def test_a_size_that_disagrees(encoder, sets, task, tmp_path):
    sets.retrieval(tmp_path, sets.pictures(3), [["a"], ["b"], ["c"]])
    with pytest.raises(AmorlipError, match="has 3 images, the benchmark expects 4"):
        retrieval.evaluate(encoder, task("retrieval", "mean_recall@1", samples=4), tmp_path)
