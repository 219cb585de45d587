"""The order of an epoch: which row of the index comes at which place, computed for any place without the others.

Why: docs/decisions/2026-11-26-order-of-an-epoch.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amorlip.common.stable_hash import stable_int

Numbers = NDArray[np.int64]

VERSION = 2
"""Changes with the order that a seed gives: a run goes on only in the order in which it began."""
ROUNDS = 16
"""Even. With 8, the permutations of five numbers are visibly not equally frequent."""


class Bijection:
    """A permutation of 0 … n - 1 that depends on `key` alone and takes no memory.

    A Feistel network: with a · b ≥ n, a number is a pair (x, y), x < a and y < b. Each round adds a function of one to
    the other, which can be undone. A result that is n or more is permuted again until it is less (cycle walking); fewer
    than a of the a · b results are.
    """

    def __init__(self, n: int, *key: object) -> None:
        self.n = n
        self.a = math.isqrt(max(n, 1) - 1) + 1
        self.b = -(-n // self.a)
        self.keys = [np.uint64(stable_int(*key, number)) for number in range(ROUNDS)]

    def __call__(self, places: Numbers) -> Numbers:
        """The numbers at `places`, each from 0 to n - 1."""
        values = self._permuted(places.astype(np.uint64))
        while (outside := np.flatnonzero(values >= self.n)).size:
            values[outside] = self._permuted(values[outside])
        return values.astype(np.int64)

    def _permuted(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        x, y = np.divmod(values, np.uint64(self.b))
        for number, key in enumerate(self.keys):
            side = np.uint64(self.b if number % 2 else self.a)
            # half of the 64 bits, so that the sum does not overflow, which could not be undone
            x, y = y, (x + (_mixed(y ^ key) >> np.uint64(32))) % side
        return x * np.uint64(self.b) + y


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the value: SplitMix64's last steps."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _Layout(NamedTuple):
    """The shards of an epoch in their order, divided into windows. Places are those of the pairs, shard by shard."""

    shards: Numbers
    starts: Numbers
    """Place of the first pair of each shard, and the number of pairs at the end."""
    window_starts: Numbers
    """The same of each window."""


class Order:
    """The rows of the index in the order of each epoch. It depends on the seed and the pairs, not on batches or ranks.

    Args:
        pairs: rows of the index.
        seed: of the order.
        by_id: rows in the order of their sample ids, because a resumed download spreads pairs over shards differently;
            None where that is the order of the rows.
        first_rows: the first row of each shard, and `pairs` at the end; only used with a window.
        window: shards that are shuffled together; 0: the whole corpus at once.
    """

    def __init__(self, pairs: int, seed: int, by_id: Numbers | None, first_rows: Numbers, window: int) -> None:
        self.pairs, self.seed, self.by_id = pairs, seed, by_id
        self.first_rows, self.window = first_rows, window
        self._layout: tuple[int, _Layout] | None = None

    def rows(self, epoch: int, places: Numbers) -> Numbers:
        """The rows at `places` of `epoch`, each from 0 to `pairs` - 1."""
        if self.window:
            return self._in_windows(epoch, places)
        numbers = Bijection(self.pairs, "order", self.seed, epoch)(places)
        return numbers if self.by_id is None else self.by_id[numbers].astype(np.int64)

    def _in_windows(self, epoch: int, places: Numbers) -> Numbers:
        layout = self._layout_of(epoch)
        windows = np.searchsorted(layout.window_starts, places, side="right") - 1
        mixed = np.empty_like(places)
        for window in np.unique(windows):
            start, end = layout.window_starts[window : window + 2]
            here = windows == window
            mixed[here] = start + Bijection(int(end - start), "window", self.seed, epoch, window)(places[here] - start)
        positions = np.searchsorted(layout.starts, mixed, side="right") - 1
        return self.first_rows[layout.shards[positions]] + mixed - layout.starts[positions]

    def _layout_of(self, epoch: int) -> _Layout:
        """Kept for one epoch: it takes time where shards are many."""
        if self._layout is None or self._layout[0] != epoch:
            count = len(self.first_rows) - 1
            shards = Bijection(count, "shards", self.seed, epoch)(np.arange(count))
            starts = np.concatenate([[0], np.diff(self.first_rows)[shards].cumsum()])
            self._layout = epoch, _Layout(shards, starts, np.append(starts[: -1 : self.window], starts[-1]))
        return self._layout[1]


@dataclass(frozen=True)
class Plan:
    """Which rows one rank reads in each step of a run: its `part` of the global batch."""

    order: Order
    batch_size: int
    epochs: int
    part: slice

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; the pairs that are left over change with the epoch."""
        return self.order.pairs // self.batch_size

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.epochs * self.steps_per_epoch

    def rows(self, step: int) -> tuple[int, Numbers]:
        """The epoch, and this rank's rows."""
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.batch_size
        return epoch, self.order.rows(epoch, np.arange(first + self.part.start, first + self.part.stop))
