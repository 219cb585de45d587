"""Reading the files that runs leave, with messages that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError, one_line
from amorlip.config.display import RunLabel
from amorlip.reporting.runs import KEYS, RunKey, shown_run


def read_text(path: Path) -> str:
    """A file's text. Raises AmorlipError if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AmorlipError(f"{path}: not UTF-8 text") from error


def json_object(text: str, where: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises AmorlipError with `where` if there is none."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AmorlipError(f"{where}: not valid JSON: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise AmorlipError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def run_key(content: Any, runs: Sequence[RunLabel], path: Path) -> RunKey:
    """The run that a file names by `KEYS`. Raises AmorlipError if it names none, or one that is not in `runs`."""
    if not isinstance(content, dict) or any(part not in content for part in KEYS):
        raise AmorlipError(f"{path}: does not name its run by {', '.join(KEYS)}")
    return shown_run((content["scale"], content["method"], content["variant"] or "", content["seed"]), runs, path)
