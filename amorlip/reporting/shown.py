"""What the rules `table` and `figure` hand over, as the arguments of the functions that draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amorlip.config.benchmark import Benchmark
from amorlip.config.experiment import Experiment
from amorlip.config.load import validate
from amorlip.config.study import EXTERNAL
from amorlip.reporting.collect import RunLabel

EXTERNAL_TITLE = "Published weights"


def shown(name: str, settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """Experiment, benchmark, runs and result files of the table or figure `name`."""
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


def by_ending(paths: Sequence[Path]) -> dict[str, Path]:
    """Ending without its dot → path."""
    return {path.suffix.removeprefix("."): path for path in paths}
