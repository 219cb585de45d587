"""CPU time of loading with a process that hands its batches over: that process' and this one's, together."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self

from amorlip.common.errors import AmorlipError

POLL_S = 0.02


class HandedOver:
    """Batches of a loader with one process, counted while the loader goes on between measurements.

    A loader's process works ahead until its queue is full. So it is at rest when a measurement starts, and the
    measurement waits until it is at rest again: it has then made as many batches as were taken.

    Args:
        batches: a generator that starts one process when its first batch is taken, ends it when it is closed, and
            does not run out of batches.

    Raises:
        AmorlipError: if it starts none, or several.
    """

    def __init__(self, batches: Generator[Any, None, None]) -> None:
        before = set(multiprocessing.active_children())
        self._batches = batches
        next(batches)
        started = set(multiprocessing.active_children()) - before
        if len(started) != 1:
            raise AmorlipError(f"the loader started {len(started)} processes, not one")
        [self._worker] = started
        self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._batches.close()

    def seconds(self, count: int) -> float:
        """CPU time of both processes for `count` batches."""
        worker, here = self._worker_s(), time.process_time()
        for _ in range(count):
            next(self._batches)
        here = time.process_time() - here
        self._wait()
        return here + self._worker_s() - worker

    def _worker_s(self) -> float:
        assert self._worker.pid is not None
        # Linux's number of the CPU clock of all threads of another process, as clock_getcpuclockid(3) makes it
        return time.clock_gettime((~self._worker.pid << 3) | 2)

    def _wait(self) -> None:
        """Until the process is at rest: all its threads sleep, and it computes nothing for a while."""
        before = -1.0
        while not self._sleeps() or self._worker_s() != before:
            before = self._worker_s()
            time.sleep(POLL_S)

    def _sleeps(self) -> bool:
        """A thread that waits for a core, or for the disk, does not."""
        threads = Path(f"/proc/{self._worker.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "S" for stat in threads)
