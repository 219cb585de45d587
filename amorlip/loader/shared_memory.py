"""Whether there is room for the batches that worker processes pass on through shared memory (/dev/shm)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from amorlip.common.errors import AmorlipError

SHARED_MEMORY = Path("/dev/shm")
SEMAPHORES = 16
"""Semaphores of a process's queues; each takes a page of shared memory."""


def require_shared_memory(tensors: Iterable[int], workers: int, prefetch: int) -> None:
    """Raise AmorlipError if workers that keep `prefetch` batches each would fill /dev/shm.

    Without room, a worker's batch is lost in a background thread, and PyTorch's loader waits for it forever; Docker's
    default is 64 MB.

    Args:
        tensors: bytes of each tensor of a batch.
        workers: processes.
        prefetch: batches that each prepares in advance; one more is in use.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    page = os.sysconf("SC_PAGE_SIZE")
    batch = sum(-(-size // page) * page for size in tensors)
    needed = (workers * prefetch + 1) * batch + (workers + 1) * SEMAPHORES * page
    disk = os.statvfs(SHARED_MEMORY)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise AmorlipError(
            f"{SHARED_MEMORY}: {free / 1e6:.1f} MB of shared memory are free, {workers} loader processes need"
            f" {needed / 1e6:.1f} MB; increase it (docker run --shm-size), or set loader.workers lower, 0 for none"
        )
