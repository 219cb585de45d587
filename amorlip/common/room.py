"""Room that is left on a disk, so that what a stranger sends does not fill it."""

from __future__ import annotations

import shutil
from pathlib import Path

from amorlip.common.errors import AmorlipError

RESERVE, RESERVED_PART = 1 << 30, 0.02
"""Bytes, or part of a small disk, that stay free for other programs."""


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise AmorlipError if `what`, of `needed` bytes, would leave too little room on the disk of `folder`."""
    disk = shutil.disk_usage(folder)
    if disk.free - needed < min(RESERVE, RESERVED_PART * disk.total):
        raise AmorlipError(
            f"{what} does not fit on the disk of {folder}: it needs {needed / 2**20:.1f} MiB more, and"
            f" {disk.free / 2**20:.1f} MiB are free; make room or check what it is"
        )
