"""Warmup and cosine."""

from __future__ import annotations

import numpy as np
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.training import schedule


def test_rates_against_an_independent_formula():
    rates = [schedule.warmup_cosine(step, peak=0.4, warmup_steps=4, steps=20) for step in range(20)]
    np.testing.assert_allclose(rates[:5], [0.1, 0.2, 0.3, 0.4, 0.4])
    np.testing.assert_allclose(rates[4:], 0.4 * np.cos(np.arange(16) / 16 * np.pi / 2) ** 2)
    assert rates[-1] > 0


def test_no_warmup_starts_at_the_peak():
    assert schedule.warmup_cosine(0, peak=1.0, warmup_steps=0, steps=3) == 1.0


def test_warmup_must_end_before_the_run():
    schedule.check(9, 10)
    with pytest.raises(AmorlipError, match="warmup_steps is 10, but the whole run has 10 steps"):
        schedule.check(10, 10)
