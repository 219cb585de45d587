"""The stage `figure`: one figure as png and pdf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.config.load import validate
from amorlip.config.study import FigureStyle
from amorlip.reporting import figures
from amorlip.reporting.shown import by_ending, shown


def run(settings: Mapping[str, Any], name: str, outputs: Sequence[Path]) -> None:
    """Draw one figure to `outputs`, recognized by their endings png and pdf.

    Raises:
        AmorlipError: if the settings or the result files do not fit together.
    """
    style = validate(FigureStyle, settings["style"], "style")
    figures.draw(*shown(name, settings), figure_style=style, outputs=by_ending(outputs))
