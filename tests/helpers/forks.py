"""Runs in a forked process, which has PyTorch loaded and can be killed, and what became of them."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.config.run import Run
from amorlip.training import loop
from amorlip.training import records as training_records

TIMES = {"samples_per_s", "seconds"}


def start(
    run: Run,
    shards: Path,
    output: Path,
    prepare: Callable[[], None] = lambda: None,
    tasks: loop.TaskFolders | None = None,
) -> int:
    """Train in a child, after `prepare`; its process id. Its standard error is `output`.err."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if child := os.fork():
        return child
    try:
        sys.stderr = open(f"{output}.err", "a", buffering=1)  # noqa: SIM115
        prepare()
        loop.train(run, shards, output, tasks or {})
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def kill_before_step(step: int) -> None:
    """This process kills itself before it trains step number `step` (from 1)."""
    train_on = loop.Trainer._train_on

    def killed(self: loop.Trainer, batch: Any, number: int) -> None:
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGKILL)
        train_on(self, batch, number)

    loop.Trainer._train_on = killed


def end(child: int) -> int:
    """How the child ended: its exit code, or minus the number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def weights(output: Path) -> str:
    return files.sha256(output / "model.safetensors")


def records(output: Path) -> list[dict]:
    """metrics.jsonl, without measured times."""
    found = training_records.read(output / "metrics.jsonl")
    return [record.model_dump(exclude=TIMES) for record in found]


def ending(output: Path) -> dict[str, Any]:
    """How a run ended: the same for two that went alike, with nothing half-written lying about."""
    left = [path.name for path in output.rglob(".*") if path.name != ".lock"]
    return {"weights": weights(output), "records": records(output), "half-written": left}
