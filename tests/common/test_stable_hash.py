from __future__ import annotations

import subprocess
import sys

import numpy as np

from amorlip.common.stable_hash import stable_int, unit


def test_values_do_not_depend_on_the_process():
    code = "from amorlip.common.stable_hash import stable_int; print(stable_int('a', 1, 'b'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == stable_int("a", 1, "b")


def test_parts_are_kept_apart():
    assert stable_int("ab", "c") != stable_int("a", "bc")
    assert stable_int("a", 1) == stable_int("a", "1")


def test_unit_is_uniform():
    values = np.array([unit("seed", i) for i in range(20_000)])
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert chi2 < 43.8  # 99.9% quantile at 19 degrees of freedom
