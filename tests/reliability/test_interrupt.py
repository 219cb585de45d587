"""Ctrl-C while a stage is at work: exit code 130, one line, nothing half-written; run again, it works.

A named pipe in place of one input file holds a stage in the middle of its work, for as long as the test wants.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import chain as chains
import pytest
from chain import Chain

STAGES = {
    "artwork": lambda c: (c.artwork_stage(c.artwork), c.artwork / "packages/solid/assets/1f603.webp"),
    "shards": lambda c: (c.shards_stage(c.shards), c.shards / "00001.tar"),
    "tasks": lambda c: (c.tasks_stage(c.folder / "built"), next((c.artwork / "pictures/openmoji").glob("*7.png"))),
    "train": lambda c: (c.train_stage(c.folder / "new", epoch_tasks=["openmoji"]), c.task / "test/0.tar"),
    "evaluate": lambda c: (c.evaluate_stage(c.folder / "new.json"), c.task / "test/0.tar"),
    "table": lambda c: (c.shown_stage("table", c.folder), c.evaluation),
    "figure": lambda c: (c.shown_stage("figure", c.folder), c.run / "metrics.jsonl"),
}
"""Stage → its arguments, and the file whose reading is held."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[Callable[[subprocess.Popen], int]]:
    """`path` becomes a pipe; the function waits until the process reads it."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    os.mkfifo(path)
    ends = []

    def wait(process: subprocess.Popen) -> None:
        while not ends:
            assert process.poll() is None, process.communicate()
            with contextlib.suppress(OSError):  # until there is a reader
                ends.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.02)

    try:
        yield wait
    finally:
        for end in ends:
            os.close(end)
        aside.replace(path)


def interrupt(arguments: list[str], wait: Callable[[subprocess.Popen], None]) -> tuple[int, list[str]]:
    """Start a stage, and press Ctrl-C (the whole process group gets it) once `wait` returns; exit code and lines."""
    process = subprocess.Popen(
        [*chains.COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=chains.environment(),
    )  # fmt: skip
    try:
        wait(process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, [line for line in said.splitlines() if not line[:2].isdigit()]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_interrupted(chain: Chain, tmp_path: Path, stage: str):
    copy = chain.copy(tmp_path / "chain")
    arguments, path = STAGES[stage](copy)
    before = chains.contents(copy.folder)
    with held(path) as wait:
        assert interrupt(arguments, wait) == (130, [f"amorlip {stage}: interrupted"])
    print(sorted(chains.contents(copy.folder).keys() ^ before.keys()))
    chains.finish(arguments)
