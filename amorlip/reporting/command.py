"""The stages `table` and `figure`: from the settings that their rules hand over to the functions that draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amorlip.config import EXTERNAL, Benchmark, Experiment, FigureStyle
from amorlip.reporting import figures, tables
from amorlip.reporting.collect import RunLabel
from amorlip.resolve import validate

EXTERNAL_TITLE = "Published weights"


def table(name: str, settings: dict[str, Any], outputs: Sequence[Path]) -> None:
    """Write the table `name` to `outputs`, known by their endings csv, md, tex and html.

    Raises:
        AmorlipError: if the settings or the result files do not fit together.
    """
    background = tables.Background(
        manifests=[Path(path) for path in settings["manifests"]],
        published_pairs=settings["published_pairs"],
        published=Path(settings["published"]) if settings["published"] else None,
    )
    tables.write(*_shown(name, settings), outputs=_by_ending(outputs), background=background)


def figure(name: str, settings: dict[str, Any], outputs: Sequence[Path]) -> None:
    """Draw the figure `name` to `outputs`, known by their endings png and pdf.

    Raises:
        AmorlipError: if the settings or the result files do not fit together.
    """
    style = validate(FigureStyle, settings["style"], "style")
    figures.draw(*_shown(name, settings), figure_style=style, outputs=_by_ending(outputs))


def _shown(name: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    published = settings.get("external", {})  # only tables show them
    external = [RunLabel(EXTERNAL, key, None, 0, title, EXTERNAL_TITLE) for key, title in published.items()]
    return (
        name,
        validate(Experiment, settings["experiment"], f"experiment {name}"),
        validate(Benchmark, settings["benchmark"], "benchmark"),
        [RunLabel(**run) for run in settings["runs"]] + external,
        [Path(path) for path in settings["evaluations"]],
        [Path(path) for path in settings["metrics"]],
    )


def _by_ending(paths: Sequence[Path]) -> dict[str, Path]:
    return {path.suffix.removeprefix("."): path for path in paths}
