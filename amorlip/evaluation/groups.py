"""Accuracy by group (key `group_by` of a task), and the worst group; used by classification.py."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def by_group(groups: np.ndarray, hits: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Per group with samples, in ascending order: the mean of each of `hits` and the number of samples, `count`.

    groups: (n,), integers. hits: metric → (n,), booleans.
    """
    values, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    means = {name: np.bincount(inverse, weights=hit) / counts for name, hit in hits.items()}
    return {
        str(value): {**{name: float(mean[row]) for name, mean in means.items()}, "count": int(counts[row])}
        for row, value in enumerate(values)
    }


def worst(groups: Mapping[str, Mapping[str, float]], metric: str) -> float:
    """The smallest `metric` of the groups."""
    return min(group[metric] for group in groups.values())
