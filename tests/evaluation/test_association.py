"""Association against scikit-learn's Jaccard index on float64 similarities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from amorlip.common.errors import AmorlipError
from amorlip.evaluation import association
from amorlip.evaluation.association import choose, prompt

WORDS = [f"word{n}" for n in range(30)]


def rounds():
    generator = np.random.default_rng(4)
    made = []
    for number, size in enumerate([5, 6, 10, 12] * 10):
        candidates = list(generator.permutation(WORDS)[:size])
        made.append((f"Cue {number}", candidates, candidates[: generator.integers(2, size - 1)]))
    return [(cue, [str(word) for word in words], [str(word) for word in chosen]) for cue, words, chosen in made]


@pytest.fixture
def played(sets, tmp_path):
    """Forty rounds with thirty images."""
    return sets.association(tmp_path, dict(zip(WORDS, sets.pictures(30), strict=True)), rounds())


def test_scores_against_scikit_learn(encoder, toy, sets, task, played):
    result = association.evaluate(encoder, task("association", "jaccard_score_10-12", samples=40), played)
    images = dict(zip(WORDS, toy.reference.images(sets.pictures(30)), strict=True))
    expected = {5: [], 6: [], 10: [], 12: []}
    for cue, candidates, associations in rounds():
        text = toy.reference.texts([f"A {cue.lower()}"])[0]
        similarity = np.array([images[word] @ text for word in candidates])
        chosen = np.isin(np.arange(len(candidates)), np.argsort(-similarity)[: len(associations)])
        expected[len(candidates)].append(jaccard_score(np.isin(candidates, associations), chosen))
    assert result.metrics == pytest.approx(
        {
            "jaccard_score": np.mean(sum(expected.values(), [])),
            "jaccard_score_5-6": np.mean(expected[5] + expected[6]),
            "jaccard_score_10-12": np.mean(expected[10] + expected[12]),
        },
        abs=1e-12,
    )
    low, high = result.interval95
    assert low < result.metrics["jaccard_score_10-12"] < high
    assert result.samples == 40
    assert result.rows["jaccard"].mean() == pytest.approx(result.metrics["jaccard_score"])


def test_rounds_of_other_sizes_count_in_the_plain_mean_only():
    scores, sizes = np.array([0.1, 0.2, 0.4, 0.8, 0.0]), np.array([6, 10, 11, 12, 7])
    assert association.metrics(scores, sizes) == pytest.approx(
        {"jaccard_score": 0.3, "jaccard_score_5-6": 0.1, "jaccard_score_10-12": 0.5}
    )


def test_every_image_is_encoded_once(encoder, toy, task, played, monkeypatch):
    seen = []
    encode = toy.model.encode_image
    monkeypatch.setattr(
        toy.model, "encode_image", lambda image, **keys: seen.append(len(image)) or encode(image, **keys)
    )
    result = association.evaluate(encoder, task("association", "jaccard_score"), played)
    assert sum(seen) == result.images == 30


def test_prompts():
    assert prompt("Oak tree") == "An oak tree"
    assert prompt("BEE") == "A bee"
    assert prompt("year") == "A year"


def test_as_many_are_chosen_as_belong():
    associated = np.array([True, False, True, False])
    assert choose(np.array([0.1, 0.4, 0.3, 0.2]), associated).tolist() == [False, True, True, False]


@pytest.mark.parametrize("associated", [[True, True, False, False, False], [False, False, False, True, True]])
def test_ties_never_help(associated):
    assert not (choose(np.zeros(5), np.array(associated)) & np.array(associated)).any()


def test_a_constant_model_scores_below_chance(encoder, toy, task, played):
    with torch.no_grad():
        toy.model.image.zero_()
    metrics = association.evaluate(encoder, task("association", "jaccard_score"), played).metrics
    assert metrics["jaccard_score"] < 0.3


def test_rounds_of_one_size_only(encoder, sets, task, tmp_path):
    images = dict(zip(WORDS, sets.pictures(30), strict=True))
    sets.association(tmp_path, images, [("bee", WORDS[:5], WORDS[:2])])
    assert set(association.evaluate(encoder, task("association", "jaccard_score"), tmp_path).metrics) == {
        "jaccard_score",
        "jaccard_score_5-6",
    }


def test_a_number_of_rounds_that_disagrees(encoder, task, played):
    with pytest.raises(AmorlipError, match="has 40 rounds, the benchmark expects 41"):
        association.evaluate(encoder, task("association", "jaccard_score", samples=41), played)
