"""A measurement in a process of its own, so that none is affected by another's memory, compiled code or settings."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from amorlip.common.errors import AmorlipError

Case = TypeVar("Case")
Function = Callable[[Case, Path, Connection], None]
"""Gets a case, a folder for its files, and the pipe for its answers; it is sent to the process by name."""


@contextmanager
def started(function: Function[Case], case: Case, scratch: Path) -> Iterator[Connection]:
    """Run `function` in a new process; yields the pipe to it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run_there, args=(function, case, scratch, there))
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join()


def receive(pipe: Connection, name: str) -> Any:
    """The next answer. Raises AmorlipError if the process, which measures `name`, has sent one or has ended."""
    try:
        answer = pipe.recv()
    except EOFError:
        raise AmorlipError(f"the process that measures {name} ended early; its message is above") from None
    if isinstance(answer, AmorlipError):
        raise answer
    return answer


def _run_there(function: Function[Case], case: Case, scratch: Path, pipe: Connection) -> None:
    # A spawned process would spawn its loaders' processes; training forks them.
    multiprocessing.set_start_method("fork", force=True)
    try:
        function(case, scratch, pipe)
    except AmorlipError as error:
        pipe.send(error)
    except EOFError:
        pass  # the other end was closed
