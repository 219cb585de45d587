"""The stage `study_report`: the study's own report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.study import load_study, top_level_layers
from amorlip.study_report.write import write

CONFIG = Path(__file__).resolve().parents[2] / "config"
RESULTS = Path("results")


def run(settings: Mapping[str, Any], output: Path) -> None:
    """Write the report of a study in the folder `results` of the working directory.

    Of `settings`, the top-level configuration is used; the rest is what the study's files say, and is in the settings
    so that a change in them makes the report again. A file that is missing by now is named in the report and is no
    error.
    """
    selection = settings["selection"]
    kept = RESULTS / selection["name"] / "config.yaml"
    layers = top_level_layers([kept], CONFIG) if kept.is_file() else []  # they know the lines
    study = load_study(selection, CONFIG, str(kept), layers)
    write(study, RESULTS, output, partial=True)
