"""task.json: where the files of a task are from, and their digests; or why there are none."""

from __future__ import annotations

from pathlib import Path

from amorlip.config.load import read_yaml

RECORD = "task.json"


def missing(folder: Path) -> str | None:
    """Why the task whose folder this is could not be had; None if it was."""
    return read_yaml(folder / RECORD).get("missing")
