"""The stage `figure`: one figure as png and pdf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.config.display import FigureSettings
from amorlip.config.load import validate
from amorlip.reporting import figures


def run(settings: Mapping[str, Any], name: str, outputs: Sequence[Path]) -> None:
    """Draw one figure to `outputs`, recognized by their extensions png and pdf.

    Raises:
        AmorlipError: if the settings or the result files do not fit together.
    """
    by_ending = {path.suffix.removeprefix("."): path for path in outputs}
    figures.draw(name, validate(FigureSettings, settings, f"figure {name}"), by_ending)
