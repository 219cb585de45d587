"""Tables: from result files to csv, Markdown, LaTeX and HTML.

A new table is one function in `FUNCTIONS` and one options type in `amorlip.config.experiment`. A function returns the
numbers as a tidy frame, which becomes the csv file, and the `Layout` that the other formats show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from amorlip.common import files
from amorlip.config.display import TableSettings
from amorlip.config.experiment import options_type
from amorlip.config.load import validate
from amorlip.reporting.comparison import comparison
from amorlip.reporting.epochs_to_accuracy import epochs_to_accuracy
from amorlip.reporting.html import html
from amorlip.reporting.latex import latex
from amorlip.reporting.markdown import markdown
from amorlip.reporting.paired_tests import paired_tests
from amorlip.reporting.table_layout import Layout

FUNCTIONS: dict[str, Callable[..., tuple[pd.DataFrame, Layout]]] = {
    "comparison": comparison,
    "epochs_to_accuracy": epochs_to_accuracy,
    "paired_tests": paired_tests,
}
"""Name in an experiment's `function` → function."""


def write(name: str, settings: TableSettings, outputs: Mapping[str, Path]) -> None:
    """Write one table.

    Args:
        name: the experiment's; becomes the table's label.
        settings: what is shown.
        outputs: `csv`, `md`, `tex` and `html` → path.

    Raises:
        AmorlipError: for an unknown function, wrong options, or result files that do not fit the settings.
    """
    experiment = settings.experiment
    options = validate(options_type("table", experiment.function), experiment.options, f"experiment {name}: options")
    numbers, layout = FUNCTIONS[experiment.function](name, settings, options)
    files.write_text(outputs["csv"], numbers.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    files.write_text(outputs["md"], markdown(layout))
    files.write_text(outputs["tex"], latex(layout))
    files.write_text(outputs["html"], html(layout))
