"""The stage `table`: one table in four formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.reporting import tables
from amorlip.reporting.shown import by_ending, shown


def run(settings: Mapping[str, Any], name: str, outputs: Sequence[Path]) -> None:
    """Write one table to `outputs`, recognized by their endings csv, md, tex and html.

    Raises:
        AmorlipError: if the settings or the result files do not fit together.
    """
    background = tables.Background(
        manifests=[Path(path) for path in settings["manifests"]],
        published_pairs=settings["published_pairs"],
        published=Path(settings["published"]) if settings["published"] else None,
    )
    tables.write(*shown(name, settings), outputs=by_ending(outputs), background=background)
