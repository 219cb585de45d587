"""Work spread over this machine's cores, by processes that end silently on Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from amorlip.common.errors import AmorlipError

T = TypeVar("T")
R = TypeVar("R")


def map_on_all_cores(function: Callable[[T], R], items: Sequence[T], *, chunksize: int = 1) -> list[R]:
    """`function` of each item, in order. Raises AmorlipError when one of the processes was killed."""
    processes = min(len(items), len(os.sched_getaffinity(0)))
    if processes < 2:
        return [function(item) for item in items]
    # A terminal interrupts them too; with Python's own handler each would print a traceback.
    quiet = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_DFL)}
    try:
        with ProcessPoolExecutor(processes, **quiet) as pool:
            return list(pool.map(function, items, chunksize=chunksize))
    except BrokenProcessPool as error:
        raise AmorlipError(
            f"one of {processes} worker processes was killed, perhaps for lack of memory; run again with fewer cores"
        ) from error
