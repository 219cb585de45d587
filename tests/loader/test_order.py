"""The order of an epoch: a permutation, uniform, another for every seed and epoch, computed place by place."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorlip.loader.order import Bijection, Order, Plan


def chi2(counts: Counter, kinds: int) -> float:
    expected = counts.total() / kinds
    return sum((count - expected) ** 2 / expected for count in [*counts.values(), *[0] * (kinds - len(counts))])


def limit(degrees: int) -> float:
    """A bound that χ² exceeds about once in 100,000 times."""
    return degrees + 4.3 * math.sqrt(2 * degrees) + 8


@given(st.integers(1, 3000), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_every_number_once(n, key):
    assert np.array_equal(np.sort(Bijection(n, key)(np.arange(n))), np.arange(n))


@pytest.mark.parametrize("n", [2**16, 2**16 + 1, 999_983, 10**6])
def test_every_number_once_of_many(n):
    assert np.array_equal(np.sort(Bijection(n, "a")(np.arange(n))), np.arange(n))


def test_places_do_not_depend_on_each_other():
    whole = Bijection(5000, "a")(np.arange(5000))
    assert np.array_equal(Bijection(5000, "a")(np.array([4999, 17, 17])), whole[[4999, 17, 17]])
    assert Bijection(10**12, "a")(np.array([0, 10**12 - 1])).max() < 10**12


@pytest.mark.parametrize("n", [3, 5])
def test_every_permutation_is_as_frequent(n):
    """3,000 keys; of 6 numbers or more there are too many permutations to count."""
    counts = Counter(tuple(Bijection(n, "a", key)(np.arange(n)).tolist()) for key in range(3000))
    assert set(counts) <= set(itertools.permutations(range(n)))
    assert chi2(counts, math.factorial(n)) < limit(math.factorial(n) - 1)


@pytest.mark.parametrize("n", [7, 50])
def test_places_and_neighbors_are_uniform(n):
    """Over 1,500 keys: the number at some places, and the step from one place to the next."""
    places = np.array([0, 1, n // 2, n - 1])
    found = np.array([Bijection(n, "b", key)(places) for key in range(1500)])
    for column in found.T:
        assert chi2(Counter(column.tolist()), n) < limit(n - 1)
    assert chi2(Counter(((found[:, 1] - found[:, 0]) % n).tolist()), n - 1) < limit(n - 2)


def test_numbers_do_not_follow_their_places():
    order = Bijection(10**6, "c")(np.arange(10**5))
    assert abs(np.corrcoef(np.arange(10**5), order)[0, 1]) < 0.02
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert chi2(Counter((order // 10**4).tolist()), 100) < limit(99)


def test_seeds_and_epochs_differ():
    """Two orders have about one place in common, as two random permutations do."""
    orders = [
        Order(1000, seed, None, np.array([0, 1000]), 0).rows(epoch, np.arange(1000))
        for seed in range(4)
        for epoch in range(4)
    ]
    common = [int((one == other).sum()) for one, other in itertools.combinations(orders, 2)]
    assert np.mean(common) < 1.5 and max(common) < 9


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_windows(sizes, window, epoch):
    """Every row once; the shards of a window come before those of the next, whatever their sizes."""
    first_rows = np.concatenate([[0], np.cumsum(sizes)])
    pairs = int(first_rows[-1])
    rows = Order(pairs, 0, None, first_rows, window).rows(epoch, np.arange(pairs))
    assert np.array_equal(np.sort(rows), np.arange(pairs))
    if window:
        shards = np.repeat(np.arange(len(sizes)), sizes)[rows]
        places = {shard: np.flatnonzero(shards == shard) for shard in set(shards.tolist())}
        spans = [(where.min(), where.max()) for where in places.values()]
        overlapping = [sum(a <= d and c <= b for c, d in spans) for a, b in spans]
        assert max(overlapping, default=0) <= window


def test_the_order_is_that_of_ids_and_not_of_rows():
    by_id = np.array([3, 0, 2, 1])
    plain, other = (Order(4, 0, ids, np.array([0, 4]), 0).rows(0, np.arange(4)) for ids in (None, by_id))
    assert np.array_equal(by_id[plain], other)


def test_ranks_and_steps():
    order = Order(23, 0, None, np.array([0, 23]), 0)
    plans = [Plan(order, 8, 3, slice(4 * rank, 4 * rank + 4)) for rank in (0, 1)]
    assert (plans[0].steps_per_epoch, plans[0].steps) == (2, 6)
    epoch, first = plans[0].rows(3)
    assert epoch == 1 and np.array_equal(first, order.rows(1, np.arange(8, 12)))
    assert np.array_equal(plans[1].rows(3)[1], order.rows(1, np.arange(12, 16)))


def test_a_batch_of_a_thousand_million_pairs_takes_no_time():
    order = Order(10**9, 0, None, np.array([0, 10**9]), 0)
    start = time.process_time()
    rows = order.rows(5, np.arange(10**9 - 1024, 10**9))
    assert time.process_time() - start < 0.1
    assert len(set(rows.tolist())) == 1024 and rows.min() >= 0 and rows.max() < 10**9
