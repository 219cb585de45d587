"""Stopping with a checkpoint after a scheduler's signal."""

from __future__ import annotations

import atexit
import multiprocessing.util
import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGURG, signal.SIGUSR1)
EXIT_CODE = 75
"""EX_TEMPFAIL: the run was interrupted, has saved its state and resumes when started again."""


class Interrupted(SystemExit):
    """The run stopped after a signal, with a checkpoint."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class StopRequest:
    """Whether this process should stop, and why: a scheduler's signal, or what else someone writes here."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def _receive(self, number: int, _frame: object) -> None:
        self.reason = signal.Signals(number).name


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Within the block SIGTERM, SIGURG and SIGUSR1 are only recorded."""
    request = StopRequest()
    before = {number: signal.signal(number, request._receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kept_from_children(*also: signal.Signals) -> Iterator[None]:
    """Processes started in the block never receive these signals, nor those in `also`.

    Schedulers and terminals signal every process of a job. A data-loading process would die of SIGTERM, and with it the
    step that is being finished.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*SIGNALS, *also])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_children() -> None:
    """End the data-loading processes.

    At exit multiprocessing sends SIGTERM to the remaining children and waits, but they block that signal.
    """
    # PyTorch's handler raises an error when a data-loading process is killed
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


# exit handlers run last in, first out: before that of multiprocessing, which its import has registered
atexit.register(kill_children)
