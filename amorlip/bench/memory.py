"""Peak memory of one call on the CPU."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip.common import malloc
from amorlip.common.errors import AmorlipError
from amorlip.common.resident import resident_mib


def peak_mib(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> float:
    """How far the resident memory rises during one call of the function that `prepare(*arguments)` returns [MiB].

    In a new process, since a process keeps memory that it has freed. `prepare` must be a module's function. It should
    make a small call first: the first one loads libraries and allocates buffers.
    Raises AmorlipError if the process ends early.
    """
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(child, prepare, arguments))
    process.start()
    child.close()
    try:
        return parent.recv()
    except EOFError:
        raise AmorlipError(f"the process that measures the memory of {arguments} ended early; run it again") from None
    finally:
        process.join()


def _measure(pipe: Any, prepare: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> None:
    malloc.return_freed()  # without it the same call took 97 MiB once and 320 MiB another time
    call = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak
    before = resident_mib("VmRSS")
    call()
    pipe.send(resident_mib("VmHWM") - before)
