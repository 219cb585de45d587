"""What glibc's malloc does with the memory of large tensors that are freed. Other C libraries are left as they are."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, of its malloc.h."""


def keep_freed() -> None:
    """Reuse the memory of freed large tensors for new ones, as PyTorch does on a GPU.

    Returned to the system and requested again in every step, it is filled with zeros page by page each time: a tenth of
    the demo's step.
    """
    _set(M_MMAP_THRESHOLD, 2**25)  # the largest value that it takes
    _set(M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed() -> None:
    """Return it to the system at once, so that a process holds what its tensors take and no gaps between them."""
    _set(M_MMAP_THRESHOLD, 2**16)


def _set(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
