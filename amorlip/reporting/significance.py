"""Tests of significance, and their correction where there are many.

scipy is imported where it is used: every other table and figure would wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.05
"""Below it, a difference is called significant."""


def holm(values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction: it bounds the chance of any false alarm among all of them."""
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values, dtype=float)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()


def signed_rank(ours: np.ndarray, theirs: np.ndarray) -> float:
    """p-value of Wilcoxon's test on pairs; 1 where all pairs are equal."""
    from scipy import stats

    return 1.0 if np.array_equal(ours, theirs) else float(stats.wilcoxon(ours, theirs).pvalue)


def friedman(scores: np.ndarray) -> float | None:
    """p-value that all columns of `scores` (tasks, methods) rank alike; None below three methods."""
    from scipy import stats

    return float(stats.friedmanchisquare(*scores.T).pvalue) if scores.shape[1] > 2 else None


def mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Mean over rows (tasks) of each column's rank; 1 is the highest score, and equal scores share a rank."""
    from scipy import stats

    return stats.rankdata(-scores, axis=1).mean(axis=0)


def paired_t(differences: np.ndarray | Sequence[float]) -> tuple[float, float, float]:
    """Ends of the 95% interval of the mean of `differences` (n,), and the p-value that it is 0, by Student's test.

    NaN for fewer than two; where all are equal, the interval is a point.
    """
    from scipy import stats

    if len(differences) < 2:
        return float("nan"), float("nan"), float("nan")
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    if error == 0:
        return mean, mean, float(mean == 0)
    half = error * float(stats.t.ppf(1 - LEVEL / 2, len(differences) - 1))
    return mean - half, mean + half, float(stats.ttest_1samp(differences, 0).pvalue)


def sign_test(better: int, worse: int) -> float:
    """p-value that a sample is as often better as worse, exactly; 1 where no sample differs."""
    from scipy import stats

    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
