"""Groups against the same numbers counted by hand."""

from __future__ import annotations

import numpy as np

from amorlip.evaluation.groups import by_group, worst


def test_accuracy_and_count_of_each_group():
    groups = np.array([3, 0, 3, 0, 3, -1])
    hits = {"acc1": np.array([1, 1, 0, 0, 0, 1], dtype=bool), "acc5": np.array([1, 1, 1, 0, 0, 1], dtype=bool)}
    result = by_group(groups, hits)
    assert result == {
        "-1": {"acc1": 1.0, "acc5": 1.0, "count": 1},
        "0": {"acc1": 0.5, "acc5": 0.5, "count": 2},
        "3": {"acc1": 1 / 3, "acc5": 2 / 3, "count": 3},
    }
    assert worst(result, "acc1") == 1 / 3
    assert worst(result, "acc5") == 0.5


def test_values_without_samples_are_no_groups():
    result = by_group(np.array([0, 2, 2]), {"acc1": np.array([True, True, True])})
    assert list(result) == ["0", "2"]
    assert worst(result, "acc1") == 1.0
