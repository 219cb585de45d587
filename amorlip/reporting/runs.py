"""Grouping the runs that a table or figure shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.config.display import RunLabel

ROW = ["scale", "method", "variant"]
"""Columns that identify a row of a table or a line of a figure; the variant is "" where there is none."""
KEYS = [*ROW, "seed"]
"""Columns that identify a run."""

RowKey = tuple[str, str, str]
"""The values of `ROW`."""
RunKey = tuple[str, str, str, int]
"""The values of `KEYS`."""


def by_row(runs: Iterable[RunLabel]) -> dict[RowKey, list[RunLabel]]:
    """The runs of each row: one per seed. Rows and seeds keep their order."""
    grouped: dict[RowKey, list[RunLabel]] = {}
    for run in runs:
        grouped.setdefault(run.row, []).append(run)
    return grouped


def scale_titles(runs: Iterable[RunLabel]) -> dict[str, str]:
    """Scale → its title, in the order of the runs."""
    return {run.scale: run.scale_title for run in runs}


def shown_run(key: RunKey, runs: Iterable[RunLabel], path: Path) -> RunKey:
    """`key` if it is one of `runs`. Raises AmorlipError if `path`, a file of that run, is not among those shown."""
    if key in {run.key for run in runs}:
        return key
    name = ", ".join(f"{part} {value}" for part, value in zip(KEYS, key, strict=True) if value != "")
    raise AmorlipError(f"{path}: belongs to the run {name}, which is not among the runs shown")
