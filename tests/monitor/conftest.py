"""Stand-ins for Slurm's commands, which print what a test gives in the format of the real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Fake = Callable[..., None]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A function that makes a command print lines, or fail with what it says on stderr."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), "/usr/bin", "/bin"]))

    def give(command: str, *lines: str, error: str = "") -> None:
        (folder / f"{command}.txt").write_text("".join(f"{line}\n" for line in lines))
        end = f"echo '{error}' >&2; exit 1" if error else f"cat {folder}/{command}.txt"
        (folder / command).write_text(f"#!/bin/sh\n{end}\n")
        (folder / command).chmod(0o755)

    give("squeue")
    give("sinfo")
    return give
