"""Runs in a forked process, which has PyTorch loaded and can be killed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from amorlip.config import Run
from amorlip.training import loop


def start(run: Run, shards: Path, output: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Train in a child, after `prepare`; its process id. Its standard error is `output`.err."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if child := os.fork():
        return child
    try:
        error = os.open(f"{output}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(error, 2)
        prepare()
        loop.train(run, shards, output, {})
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def end(child: int) -> int:
    """How the child ended: its exit code, or minus the number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
