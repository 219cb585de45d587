"""Corrected p-values and groups of methods, by hand and against scipy's own tests."""

from __future__ import annotations

import numpy as np
import pytest

from amorlip.reporting import significance
from amorlip.reporting.critical_difference import cliques
from tests.reporting.test_paper_figures import draw


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04, times 4, 3, 2, 1; never below an earlier one."""
    assert significance.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert significance.holm([0.9, 0.5]) == [1.0, 1.0] and significance.holm([]) == []


def test_ranks_by_hand():
    scores = np.array([[3.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    assert significance.mean_ranks(scores) == pytest.approx([1.25, 1.75, 3])
    assert significance.friedman(scores[:, :2]) is None


def test_pairs_that_are_equal_do_not_differ():
    ours = np.arange(10.0)
    assert significance.signed_rank(ours, ours) == 1
    assert significance.signed_rank(ours + 1 + ours / 100, ours) == pytest.approx(2 / 2**10)  # all ten in one direction


def test_the_sign_test_by_hand():
    assert significance.sign_test(0, 0) == 1 and significance.sign_test(3, 3) == 1
    assert significance.sign_test(0, 8) == significance.sign_test(8, 0) == pytest.approx(2 / 2**8)


def test_methods_are_joined_where_no_two_differ():
    rng = np.random.default_rng(0)
    base = rng.random(30)
    noise = [base + 0.01 * rng.normal(size=30) for _ in range(2)]
    assert cliques([base + 1, *noise]) == [(1, 2)]
    assert cliques([base + 2, base + 1, base]) == []
    assert cliques([base, base, base]) == [(0, 2)]


def test_the_figure_names_methods_from_the_best_to_the_worst(study):
    fake = study(methods=("clip", "fastclip", "amorlip_l2log"))
    values = {("clip", None): 0.2, ("fastclip", None): 0.4, ("amorlip_l2log", None): 0.3}
    (axes,) = draw(fake, "critical_difference", values).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["FastCLIP-v3", "AmorLIP l2-log", "CLIP"]
    assert [text.get_text() for text in axes.texts] == ["1.00", "2.00", "3.00"]
    assert "9 tasks, Friedman's test: p = 0.00012" in " ".join(axes.get_title(loc="left").split())
    assert "Fewer than two" in draw(study(methods=("clip",)), "critical_difference").texts[0].get_text()
