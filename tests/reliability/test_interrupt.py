"""Ctrl-C while a stage is at work: exit code 130, one line, nothing half-written; run again, it works.

A named pipe in place of one input file holds a stage in the middle of its work, for as long as the test wants.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from amorlip.corpus.urls import write_table
from tests.helpers import REPOSITORY
from tests.helpers import chain as chains
from tests.helpers.chain import Chain

STAGES = {
    "artwork": lambda c: (
        c.artwork_stage(c.artwork), c.artwork / "packages/solid/assets/1f603.webp", ["pictures.parquet"]
    ),
    "shards": lambda c: (c.shards_stage(c.shards), c.shards / "00001.tar", ["manifest.json"]),
    "tasks": lambda c: (c.tasks_stage(c.task), some_picture(c.artwork), ["task.json"]),
    "train": lambda c: (
        c.train_stage(c.folder / "new", method="clip", epoch_tasks=["openmoji"]), c.task / "classnames.txt",
        ["new/model.safetensors"],
    ),
    "evaluate": lambda c: (c.evaluate_stage(c.folder / "new.json"), c.task / "classnames.txt", ["new.json"]),
    "figure": lambda c: (c.shown_stage("figure", c.folder), c.run / "metrics.jsonl", ["x.png", "x.pdf"]),
}  # fmt: skip
"""Stage → its arguments, the file whose reading is held, and the files that say that it has ended well."""


def some_picture(artwork: Path) -> Path:
    """One that the task shows: its name was seen in training."""
    pictures = pd.read_parquet(artwork / "pictures.parquet")
    seen = pictures.loc[pictures["role"] == "train", "name"]
    shown = pictures[(pictures["style"] == "openmoji") & pictures["name"].isin(seen)]
    return artwork / shown["picture"].iloc[-1]


@contextlib.contextmanager
def held(path: Path) -> Iterator[Callable[[subprocess.Popen], int]]:
    """`path` becomes a pipe; the function waits until the process reads it."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    os.mkfifo(path)
    with reader_of(path) as wait:
        yield wait
    aside.replace(path)


@contextlib.contextmanager
def reader_of(path: Path) -> Iterator[Callable[[subprocess.Popen], int]]:
    """The function waits until the process reads the pipe `path`, where it is held until the end of the block."""
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


def interrupt(
    arguments: list[str], wait: Callable[[subprocess.Popen], None], **environment: str
) -> tuple[int, list[str]]:
    """Start a stage, and press Ctrl-C (the whole process group gets it) once `wait` returns; exit code and lines."""
    process = subprocess.Popen(
        [*chains.COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=chains.environment(**environment),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored below a shell's `&`
    )  # fmt: skip
    try:
        wait(process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, [line for line in said.splitlines() if not line[:2].isdigit()]


def check(
    arguments: list[str],
    wait: Callable[[subprocess.Popen], None],
    folder: Path,
    ends: list[str],
    **environment: str,
) -> None:
    """Interrupted, the stage tells one line, and leaves neither the files it ends with nor half of one."""
    stage, before = arguments[0], chains.contents(folder).keys()
    assert interrupt(arguments, wait, **environment) == (130, [f"amorlip {stage}: interrupted"])
    there = chains.contents(folder).keys()
    new = {Path(name).name for name in there - before}
    assert not [name for name in new if name.startswith(".") and name not in (".lock", ".source")]
    assert not [name for name in there if name.endswith(tuple(ends))]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_interrupted(chain: Chain, tmp_path: Path, stage: str):
    copy = chain.copy(tmp_path / "chain")
    arguments, path, ends = STAGES[stage](copy)
    with held(path) as wait:
        check(arguments, wait, copy.folder, ends)
    chains.finish(arguments)
    assert all(any(name.endswith(end) for name in chains.contents(copy.folder)) for end in ends)


HELD = """
from amorlip.common import limits

original = limits.read_file

def read_file(path, *most):
    if path.name == "openmoji.json":
        open({pipe!r}).read()
    return original(path, *most)

limits.read_file = read_file
"""
"""Runs when Python starts: a table reads no pipe, so another one is read before its evaluation."""


@pytest.mark.slow
def test_a_table_is_interrupted(chain: Chain, tmp_path: Path):
    copy, pipe = chain.copy(tmp_path / "chain"), tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "sitecustomize.py").write_text(HELD.format(pipe=str(pipe)))
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    with reader_of(pipe) as wait:
        endings = ["x.csv", "x.md", "x.tex", "x.html"]
        check(copy.shown_stage("table", copy.folder), wait, copy.folder, endings, PYTHONPATH=path)


@pytest.mark.slow
def test_waiting_for_the_web_is_interrupted(inputs: Chain, server, tmp_path: Path):
    """The list of addresses, and the pictures: both come from a server that does not answer."""
    asked = threading.Event()
    silent = threading.Event()

    def never(_: int) -> tuple[int, bytes]:
        asked.set()
        silent.wait(60)
        return 200, b""

    def wait(process: subprocess.Popen) -> None:
        while not asked.wait(0.05):
            assert process.poll() is None, process.communicate()
        asked.clear()

    server.pages["/never"] = never
    lists = {"train": {"url": f"{server.url}/never", "columns": ["url", "caption"]}}
    check(
        inputs.urls_stage(tmp_path / "urls.parquet", **lists, allow_private_addresses=True),
        wait,
        tmp_path,
        ["urls.parquet"],
    )
    write_table(pa.array([lists["train"]["url"]]), pa.array(["a"]), pa.array(["train"]), tmp_path / "list.parquet")
    stage = inputs.download_stage(tmp_path / "list.parquet", tmp_path / "train", timeout_s=60)
    code, lines = interrupt(stage, wait)
    assert (code, lines[-1]) == (130, "amorlip download: interrupted")
    assert not (tmp_path / "train" / "download.json").exists()
    silent.set()
