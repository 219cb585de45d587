"""Figures: from result files to png and pdf.

A new figure is one function in `FUNCTIONS` and one options type in `amorlip.config.experiment`. A function takes the
stage's settings and its options, and returns a matplotlib figure; see docs/adding-a-figure.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import options_type
from amorlip.config.load import validate
from amorlip.reporting import style
from amorlip.reporting.accuracy_over_cost import accuracy_over_cost
from amorlip.reporting.accuracy_over_epochs import accuracy_over_epochs
from amorlip.reporting.critical_difference import critical_difference
from amorlip.reporting.difference_to_baseline import difference_to_baseline
from amorlip.reporting.gain_over_baseline import gain_over_baseline
from amorlip.reporting.log_z_error import log_z_error
from amorlip.reporting.reproduction import reproduction
from amorlip.reporting.sweep import sweep
from amorlip.reporting.training_curves import training_curves

FUNCTIONS: dict[str, Callable[..., Figure]] = {
    "accuracy_over_cost": accuracy_over_cost,
    "accuracy_over_epochs": accuracy_over_epochs,
    "critical_difference": critical_difference,
    "difference_to_baseline": difference_to_baseline,
    "gain_over_baseline": gain_over_baseline,
    "log_z_error": log_z_error,
    "reproduction": reproduction,
    "sweep": sweep,
    "training_curves": training_curves,
}
"""Name in an experiment's `function` → function."""


def draw(name: str, settings: FigureSettings, outputs: Mapping[str, Path], watermark: str = "") -> None:
    """Draw one figure.

    Args:
        name: the experiment's, for messages.
        settings: what is shown, and how.
        outputs: `png` and `pdf` → path.
        watermark: a word across the figure, where its numbers were not measured.

    Raises:
        AmorlipError: for an unknown function, wrong options, or result files that do not fit the settings.
    """
    experiment = settings.experiment
    options = validate(options_type("figure", experiment.function), experiment.options, f"experiment {name}: options")
    with style.context(settings.style):
        figure = FUNCTIONS[experiment.function](settings, options)
        if watermark:
            style.add_watermark(figure, watermark)
        style.save(figure, outputs, settings.style.dpi)
