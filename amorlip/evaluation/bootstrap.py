"""95% bootstrap intervals (percentiles, 1,000 resamples, fixed seed) of means over samples.

Macro F1 and the worst group's accuracy get none: neither is a mean over samples, and the percentile bootstrap of a
minimum is biased downwards. The per-sample predictions are written for anyone who needs an interval for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1000
DRAWS_AT_ONCE = 2**22


def of_rates(hits: np.ndarray, counts: np.ndarray) -> list[float]:
    """Interval [low, high] of the unweighted mean over strata of the rates hits/counts.

    hits, counts: (strata,), integers; strata without samples are left out. Resampling n zeros and ones with
    replacement is a binomial draw, so single samples are not needed. With one stratum, the mean is the accuracy; with
    one per class, the mean per-class recall, and the class sizes are kept.
    """
    present = counts > 0
    hits, counts = hits[present], counts[present]
    draws = np.random.default_rng(0).binomial(counts, hits / counts, size=(RESAMPLES, len(counts)))
    return _percentiles((draws / counts).mean(axis=1))


def of_ratios(terms: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Interval [low, high] of the mean over `terms` of sum(numerator)/sum(denominator).

    terms: pairs of arrays (units,). Whole units are resampled, the same ones in every term: in retrieval an image with
    all its captions (their hits are correlated), in association a round.
    """
    units = len(terms[0][0])
    generator = np.random.default_rng(0)
    step = max(1, DRAWS_AT_ONCE // units)
    values = []
    for start in range(0, RESAMPLES, step):
        chosen = generator.integers(units, size=(min(step, RESAMPLES - start), units))
        ratios = [top[chosen].sum(axis=1) / bottom[chosen].sum(axis=1) for top, bottom in terms]
        values.append(np.mean(ratios, axis=0))
    return _percentiles(np.concatenate(values))


def _percentiles(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]
