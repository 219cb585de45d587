"""Where a process writes: everything into a log that grows, progress to the terminal as well."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from amorlip.common import files


def append_to(path: Path) -> TextIO:
    """From now on stdout and stderr go to the end of the file `path`; returns the former stderr.

    By file descriptor, so that this is true of libraries and child processes as well. No pipe: `tee` would die of a
    signal that is meant for training, and hide its exit code.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    with files.open_to_append(path, "a") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    return terminal


def link(path: Path, target: Path) -> None:
    """Make `path` lead to `target`. Snakemake deletes a rule's log before it starts a job; this way only the link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))
