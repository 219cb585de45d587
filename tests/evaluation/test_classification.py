"""Classification metrics against scikit-learn on float64 scores computed apart from the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from amorlip.common.errors import AmorlipError
from amorlip.evaluation import classification
from amorlip.evaluation.classification import Predictions, metrics

NAMES = [f"thing {n}" for n in range(7)]
TEMPLATES = ["a {c}", "{c}.", "the {c} here"]
COUNT = 61


@pytest.fixture
def labels():
    """Class 4 has no samples."""
    return np.random.default_rng(3).choice([0, 1, 2, 3, 5, 6], size=COUNT)


def scores(toy, sets, names=NAMES):
    return toy.reference.images(sets.pictures(COUNT)) @ toy.reference.classes(names, TEMPLATES).T


def test_metrics_of_a_set_against_scikit_learn(encoder, toy, sets, task, labels, tmp_path):
    sets.classification(tmp_path, sets.pictures(COUNT), list(labels), NAMES, TEMPLATES, shards=2)
    result = classification.evaluate(encoder, task("classification", "acc1", samples=COUNT, classes=7), tmp_path)
    expected = scores(toy, sets)
    predicted = expected.argmax(axis=1)
    present = np.unique(labels)
    assert result.metrics == pytest.approx(
        {
            "acc1": (predicted == labels).mean(),
            "acc5": top_k_accuracy_score(labels, expected, k=5, labels=range(7)),
            "mean_per_class_recall": np.mean([(predicted == c)[labels == c].mean() for c in present]),
            "F1-macro_all": f1_score(labels, predicted, labels=present, average="macro"),
        },
        abs=1e-12,
    )
    assert (result.samples, result.images, result.classes) == (COUNT, COUNT, 7)
    assert result.groups is None
    assert result.per_class == {
        "count": [int((labels == c).sum()) for c in range(7)],
        "correct": [int((predicted == c)[labels == c].sum()) for c in range(7)],
    }
    low, high = result.interval95
    assert low < result.metrics["acc1"] < high


def test_rows_give_the_metrics_again(encoder, sets, task, labels, tmp_path):
    metadata = [[n, n % 3] for n in range(COUNT)]
    sets.classification(tmp_path, sets.pictures(COUNT), list(labels), NAMES, TEMPLATES, metadata=metadata)
    spec = task("classification_grouped", "acc1", metadata=["number", "third"])
    result = classification.evaluate(encoder, spec, tmp_path)
    rows = result.rows
    assert rows["key"].tolist() == [f"s{n:07d}" for n in range(COUNT)]
    assert rows["label"].tolist() == list(labels)
    assert rows["correct"].mean() == result.metrics["acc1"] == (rows["prediction"] == rows["label"]).mean()
    assert (rows["rank"] < 5).mean() == result.metrics["acc5"]
    assert rows["metadata_third"].tolist() == [n % 3 for n in range(COUNT)]
    assert result.groups is None and "acc_wg" not in result.metrics


def test_grouped_accuracies_are_their_definition(encoder, toy, sets, task, labels, tmp_path):
    region = np.random.default_rng(5).choice([0, 1, 2, 5], size=COUNT, p=[0.5, 0.3, 0.15, 0.05])
    metadata = [[2000, value] for value in region]
    sets.classification(tmp_path, sets.pictures(COUNT), list(labels), NAMES, TEMPLATES, metadata=metadata)
    spec = task("classification_grouped", "acc_worst_region", metadata=["year", "region"], group_by="region")
    result = classification.evaluate(encoder, spec, tmp_path)
    expected = scores(toy, sets)
    top1 = expected.argmax(axis=1) == labels
    top5 = (np.argsort(-expected, axis=1)[:, :5] == labels[:, None]).any(axis=1)
    assert result.groups == {
        str(value): {
            "acc1": pytest.approx(top1[region == value].mean()),
            "acc5": pytest.approx(top5[region == value].mean()),
            "count": (region == value).sum(),
        }
        for value in (0, 1, 2, 5)
    }
    lowest = min(top1[region == value].mean() for value in (0, 1, 2, 5))
    assert result.metrics["acc_worst_region"] == result.metrics["acc_wg"] == pytest.approx(lowest)
    lowest = min(top5[region == value].mean() for value in (0, 1, 2, 5))
    assert result.metrics["acc_top5_wg"] == pytest.approx(lowest)
    assert result.interval95 is None


def test_balanced_accuracy_is_scikit_learns():
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 9, 400), generator.integers(0, 9, 400)
    values = metrics(Predictions([], labels, predicted, (labels != predicted).astype(int), np.empty((400, 0)), 9))
    assert values["mean_per_class_recall"] == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)


def test_f1_ignores_classes_that_are_only_predicted():
    """The wilds package's definition: labels = unique(y_true)."""
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 2, 1])
    values = metrics(Predictions([], labels, predicted, (labels != predicted).astype(int), np.empty((4, 0)), 3))
    assert values["F1-macro_all"] == pytest.approx(2 / 3)
    assert f1_score(labels, predicted, average="macro") == pytest.approx(4 / 9)


def test_interval_of_balanced_accuracy_but_none_of_f1(encoder, sets, task, labels, tmp_path):
    sets.classification(tmp_path, sets.pictures(COUNT), list(labels), NAMES, TEMPLATES)
    balanced = classification.evaluate(encoder, task("classification", "mean_per_class_recall"), tmp_path)
    low, high = balanced.interval95
    assert low < balanced.metrics["mean_per_class_recall"] < high
    assert classification.evaluate(encoder, task("classification", "F1-macro_all"), tmp_path).interval95 is None


def test_fewer_than_five_classes_have_no_top_five(encoder, sets, task, tmp_path):
    metadata = [[n % 2] for n in range(20)]
    sets.classification(
        tmp_path, sets.pictures(20), [n % 4 for n in range(20)], NAMES[:4], TEMPLATES, metadata=metadata
    )
    spec = task("classification_grouped", "acc_wg", metadata=["half"], group_by="half")
    result = classification.evaluate(encoder, spec, tmp_path)
    assert "acc5" not in result.metrics and "acc_top5_wg" not in result.metrics
    assert set(result.groups["0"]) == {"acc1", "count"}


def test_five_classes_have_a_top_five(encoder, sets, task, tmp_path):
    sets.classification(tmp_path, sets.pictures(20), [n % 5 for n in range(20)], NAMES[:5], TEMPLATES)
    assert classification.evaluate(encoder, task("classification", "acc5"), tmp_path).metrics["acc5"] == 1.0


@pytest.mark.parametrize("part", ["image", "text"])
def test_a_constant_model_is_no_better_than_chance(encoder, toy, sets, task, tmp_path, part):
    with torch.no_grad():
        getattr(toy.model, part).zero_()
    labels = [n % 7 for n in range(70)]
    sets.classification(tmp_path, sets.pictures(70), labels, NAMES, TEMPLATES)
    result = classification.evaluate(encoder, task("classification", "acc1"), tmp_path)
    assert result.metrics["acc1"] == result.metrics["mean_per_class_recall"] == pytest.approx(1 / 7)
    assert result.metrics["acc5"] == pytest.approx(5 / 7)


def test_of_two_classes_with_one_name_the_first_wins(encoder, toy, sets, task, labels, tmp_path):
    names = ["sunglasses", "x", "sunglasses", *NAMES[3:]]
    sets.classification(tmp_path, sets.pictures(COUNT), list(labels), names, TEMPLATES)
    rows = classification.evaluate(encoder, task("classification", "acc1"), tmp_path).rows
    assert 2 not in set(rows["prediction"])
    np.testing.assert_array_equal(rows["prediction"], scores(toy, sets, names).argmax(axis=1))


def test_sizes_that_disagree(encoder, sets, task, labels, tmp_path):
    sets.classification(tmp_path / "a", sets.pictures(COUNT), list(labels), NAMES, TEMPLATES)
    with pytest.raises(AmorlipError, match=f"a/test has {COUNT} samples, the benchmark expects 62"):
        classification.evaluate(encoder, task("classification", "acc1", samples=62), tmp_path / "a")
    with pytest.raises(AmorlipError, match="classnames.txt has 7 classes, the benchmark expects 8"):
        classification.evaluate(encoder, task("classification", "acc1", classes=8), tmp_path / "a")
    sets.classification(tmp_path / "b", sets.pictures(0), [], NAMES, TEMPLATES)
    with pytest.raises(AmorlipError, match="b/test: the shards hold no samples"):
        classification.evaluate(encoder, task("classification", "acc1"), tmp_path / "b")
