"""Writing a run's checkpoints in a thread, while training goes on."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, cast

import torch
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from amorlip.common.errors import one_line
from amorlip.training import signals
from amorlip.training.checkpoint import Checkpoints

logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Copies a run's state and writes the copy, one checkpoint at a time.

    A context: its end waits for the write that is under way. If training leaves with an error of its own, that of the
    write is only logged. The first Ctrl-C waits, too; one more during it gives the write up, and nothing of it is left.

    The copy stays, for the next one: it takes as much of the host's memory as the state, pinned if there is a GPU.
    """

    def __init__(self, checkpoints: Checkpoints, device: torch.device) -> None:
        self.checkpoints = checkpoints
        gpu = device.type == "cuda"
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=gpu, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=gpu
            )
        )
        # without its mask, the thread could get a signal that the main thread holds back for a moment
        held_back = (signal.SIG_BLOCK, (*signals.SIGNALS, signal.SIGINT))
        self._thread = ThreadPoolExecutor(1, "checkpoint", initializer=signal.pthread_sigmask, initargs=held_back)
        self._write: Future[None] | None = None
        self._begun, self._ended = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """How long the last save took [s], from `since` to the end of the write; so far, if it is under way."""
        return (time.monotonic() if self.is_busy else self._ended) - self._begun

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._write is not None and not self._write.done()

    def start(self, step: int, state: dict[str, Any], parts: Sequence[str], *, since: float) -> None:
        """Copy the state after `step` steps, and begin to write the copy; see `Checkpoints.save`.

        `since`: when the work on this checkpoint began, by `time.monotonic`. On return `state` may be changed.
        Raises OSError, as `wait`, for the checkpoint before.
        """
        self.wait()
        # A library's copy: it keeps tensors that share memory together, so the file is that of `state`, byte for byte.
        # It waits for the GPU once, after the last tensor.
        copy = cast(dict[str, Any], self._stager.stage(state))
        self._begun = since
        self._write = self._thread.submit(self._save, step, copy, parts)

    def wait(self) -> None:
        """Until nothing is being written. Raises OSError if the disk was full or broken, once."""
        self._wait()
        write, self._write = self._write, None
        if write is not None:
            write.result()

    def check(self) -> None:
        """Raises what `wait` would raise, without waiting."""
        if not self.is_busy:
            self.wait()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._wait()
        except KeyboardInterrupt:
            self.checkpoints.abandon()
            self._wait()
            raise
        finally:
            self._thread.shutdown()
            self._stager.close()  # frees the copy
        if error is None:
            self.wait()
        elif self._write is not None and (failure := self._write.exception()):
            logger.warning("the last checkpoint was not written: %s", one_line(failure))

    def _wait(self) -> None:
        # not by joining the thread: once Ctrl-C has interrupted it, Python 3.11's Thread.join returns at once
        if self._write is not None:
            futures.wait([self._write])

    def _save(self, step: int, state: dict[str, Any], parts: Sequence[str]) -> None:
        try:
            self.checkpoints.save(step, state, parts)
        finally:
            self._ended = time.monotonic()
