"""Bootstrap intervals against plain resampling and the normal approximation."""

from __future__ import annotations

import numpy as np
import pytest

from amorlip.evaluation import bootstrap


def test_rate_against_the_normal_approximation():
    low, high = bootstrap.of_rates(np.array([300]), np.array([1000]))
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert low == pytest.approx(0.3 - half, abs=0.004)
    assert high == pytest.approx(0.3 + half, abs=0.004)


def test_mean_of_rates_against_plain_resampling_within_classes():
    generator = np.random.default_rng(1)
    classes = [generator.random(size) < rate for size, rate in ((30, 0.9), (200, 0.2), (60, 0.5))]
    plain = [np.mean([generator.choice(hits, len(hits)).mean() for hits in classes]) for _ in range(4000)]
    counts = np.array([0, *(len(hits) for hits in classes)])
    hits = np.array([0, *(hits.sum() for hits in classes)])
    assert bootstrap.of_rates(hits, counts) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.006)


def test_ratios_against_plain_resampling_of_units():
    generator = np.random.default_rng(2)
    counts = generator.integers(1, 6, size=150)
    found = generator.binomial(counts, 0.4)
    image = generator.random(150) < 0.6
    plain = []
    for _ in range(4000):
        chosen = generator.integers(150, size=150)
        plain.append((image[chosen].mean() + found[chosen].sum() / counts[chosen].sum()) / 2)
    terms = [(image, np.ones(150)), (found, counts)]
    assert bootstrap.of_ratios(terms) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.006)


def test_one_term_of_zeros_and_ones_is_a_rate():
    hits = np.arange(400) < 100
    expected = bootstrap.of_rates(np.array([100]), np.array([400]))
    assert bootstrap.of_ratios([(hits, np.ones(400))]) == pytest.approx(expected, abs=0.008)


def test_repeats_and_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    first = bootstrap.of_rates(np.array([3]), np.array([9]))
    assert first == bootstrap.of_rates(np.array([3]), np.array([9]))
    assert (np.random.get_state()[1] == before).all()


def test_blocks_do_not_change_the_number_of_resamples(monkeypatch):
    calls = []
    monkeypatch.setattr(bootstrap, "_percentiles", lambda values: calls.append(len(values)))
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 700)
    bootstrap.of_ratios([(np.ones(3), np.ones(3))])
    assert calls == [bootstrap.RESAMPLES]


def test_certain_results_have_no_width():
    assert bootstrap.of_rates(np.array([5, 0]), np.array([5, 0])) == [1.0, 1.0]
