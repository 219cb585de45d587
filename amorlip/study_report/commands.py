"""The commands that made a file, as Snakemake recorded them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_json

METADATA = Path(".snakemake") / "metadata"
"""Below the working directory: one JSON file for each output, whose name is the output's path in base64."""


@dataclass(frozen=True)
class Command:
    """One command of the workflow."""

    rule: str
    text: str
    ended: str
    """Date and time, UTC."""
    took: str


def commands(outputs: Iterable[Path]) -> list[Command]:
    """The distinct commands that made `outputs`, of those that Snakemake recorded, in their order."""
    found = [_command(output) for output in outputs]
    return list(dict.fromkeys(command for command in found if command is not None))


def _command(output: Path) -> Command | None:
    name = base64.urlsafe_b64encode(str(output).encode()).decode()
    try:
        record = read_json(METADATA / name)
        text, rule = record["shellcmd"], record["rule"]
        start, end = float(record["starttime"]), float(record["endtime"])
    # another version of Snakemake, a damaged record, a path too long for the name of a file
    except (OSError, ValueError, KeyError, TypeError, AmorlipError):
        return None
    ended = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M")
    return Command(str(rule), " ".join(str(text).split()), ended, str(timedelta(seconds=round(end - start))))
