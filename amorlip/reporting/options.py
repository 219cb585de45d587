"""Options of the table and figure functions: the keys an experiment may write under `options`.

Kept apart from the functions, so that a configuration can be checked without loading pandas or matplotlib.
"""

from __future__ import annotations

from typing import Literal

from amorlip.config import Name, Section, unknown_key
from amorlip.errors import AmorlipError


class Comparison(Section):
    """Table `comparison`: a row a method, the benchmark's columns, best and second best marked."""

    columns: list[str] | None = None
    """Keys of tasks or averages that are shown, under their groups' headings; null: all columns of the benchmark."""
    published: Name | None = None
    """File in paper/ (without .csv) whose rows are shown beside those measured here, for scales of the same name."""
    notes: list[str] = []
    """Sentences that are added under the table."""


class AccuracyOverEpochs(Section):
    """Figure `accuracy_over_epochs`: a task that is evaluated after each epoch, one line a method."""

    task: str | None = None
    """Which task; null: the benchmark's first that all shown runs evaluated after each epoch."""
    metric: str | None = None
    """Which of its metrics (a fraction, shown in percent); null: the task's main metric."""
    band: Literal["range", "std"] = "range"
    """Spread over seeds around the mean: smallest to largest value, or ± one standard deviation."""


class DifferenceToBaseline(Section):
    """Figure `difference_to_baseline`: a bar a task, the main metric less that of the experiment's `baseline`."""

    tasks: list[str] | None = None
    """Which tasks; null: all of the benchmark."""


class TrainingCurves(Section):
    """Figure `training_curves`: losses, logit scale and log Z error over steps. It has no options."""


TABLES: dict[str, type[Section]] = {"comparison": Comparison}
FIGURES: dict[str, type[Section]] = {
    "accuracy_over_epochs": AccuracyOverEpochs,
    "difference_to_baseline": DifferenceToBaseline,
    "training_curves": TrainingCurves,
}


def options_type(kind: Literal["table", "figure"], function: str) -> type[Section]:
    """The type of a function's options. Raises AmorlipError for an unknown function, with the nearest known one."""
    known = {"table": TABLES, "figure": FIGURES}[kind]
    if function not in known:
        raise AmorlipError(f"function: {unknown_key(function, known, f'{kind} function')}")
    return known[function]
