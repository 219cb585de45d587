"""The stage `table`: one table in four formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.config.display import TableSettings
from amorlip.config.load import validate
from amorlip.reporting import tables


def run(settings: Mapping[str, Any], name: str, outputs: Sequence[Path]) -> None:
    """Write one table to `outputs`, recognized by their extensions csv, md, tex and html.

    Raises:
        AmorlipError: if the settings or the result files do not fit together.
    """
    by_ending = {path.suffix.removeprefix("."): path for path in outputs}
    tables.write(name, validate(TableSettings, settings, f"table {name}"), by_ending)
