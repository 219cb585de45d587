"""Keys of `config/experiments/*.yaml`: tables and figures, and the runs that they need."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.base import Affects, Float, Name, Section
from amorlip.config.method import MethodLayer


class Variant(MethodLayer):
    """A method with changes, as an ablation's row."""

    name: Name
    """Part of the run's name: letters, digits, `_` and `.`. No `-`, which separates method, variant and seed."""
    method: Name
    """The method that is changed."""
    title: Annotated[str, Affects.DISPLAY]
    """Name in tables and figures."""


class Experiment(Section):
    """One table or figure and the runs it needs."""

    kind: Literal["table", "figure"]
    """Which folder its files go to."""
    function: Name
    """Function of `amorlip.reporting.tables` or `.figures`."""
    title: str
    """Label in the report."""
    caption: str
    """What it shows, in plain text, for the report; a blank line begins a new paragraph."""
    scales: list[Name] | None = None
    """Which of the configured scales; null: all."""
    methods: list[Name] | None = None
    """Which of the configured methods; null: all; []: only the variants."""
    variants: list[Variant] = []
    """Further runs."""
    baseline: Name = "clip"
    """The method that differences refer to."""
    options: dict[str, Any] = {}
    """Arguments of the function."""


class BestOf(Section):
    """Methods that share one row of a table: at each scale, the best of them."""

    title: str
    """Name of the row."""
    methods: Annotated[list[Name], Field(min_length=2)]
    """The methods; published numbers are those of the first."""
    column: str | None = None
    """The task or average that decides, by the mean over seeds; null: the last column of the table."""


class Heads(Section):
    """Words of a table that the benchmark and the methods do not name."""

    scale: str = "Scale"
    """Over the scales."""
    method: str = "Method"
    """Over the methods."""
    cost_group: str = "Training"
    """Over the column of `cost`."""
    cost: str | None = None
    """Of the column of `cost`; null: its quantity."""
    seed_tests: str = "Difference from"
    """Over the columns of `seed_tests`, before the title of the `baseline` method."""
    ours: str = "Measured here"
    """Of the first view, where there are three."""
    published: str = "Published"
    """Of the view of published numbers."""
    difference: str = "Measured here minus published"
    """Of the view of differences."""


class Comparison(Section):
    """Table `comparison`: one row per method, the benchmark's columns, best and second best marked."""

    columns: list[str] | None = None
    """Keys of tasks or averages to show, under the headings of the benchmark's groups, then those without a group;
    null: all columns of the benchmark."""
    published: Name | None = None
    """File in paper/ (without .csv), for scales of the same name. The table then has three views: what was measured
    here, what was published, and the difference."""
    later_work: Name | None = None
    """File in paper/ (without .csv) with results of other authors' own runs, shown in a block of its own in the
    view of published numbers, after the scale of the same name."""
    cost: Literal["step_time", "memory"] | None = None
    """A last column: how much more time a training step takes, or how much more memory training takes, than the
    `baseline` method's. From the runs' provenance.json."""
    cost_file: str | None = None
    """File that `amorlip bench paper-table2` wrote, as a path from the working directory: `cost` is read there and not
    in provenance.json."""
    best_of: list[BestOf] = []
    """Rows that show the best of several methods, with a note that names it. Methods that the study does not have are
    left out."""
    seed_tests: bool = False
    """With several seeds, add columns: each row's difference from the `baseline` in the last column, seed by seed, with
    its 95% interval, and p-values of Student's test."""
    notes: list[str] = []
    """Sentences to add under the table."""
    heads: Heads = Heads()
    """Titles of views and headings."""


class AccuracyOverEpochs(Section):
    """Figure `accuracy_over_epochs`: a task that is evaluated after each epoch, one line per method."""

    task: str | None = None
    """Which task; null: the benchmark's first that all shown runs evaluated after each epoch."""
    metric: str | None = None
    """Which of its metrics (a fraction, shown in percent); null: the task's main metric."""
    band: Literal["range", "std"] = "range"
    """Spread over seeds around the mean: smallest to largest value, or ± one standard deviation."""


class DifferenceToBaseline(Section):
    """Figure `difference_to_baseline`: one bar per task, its main metric minus the `baseline` method's."""

    tasks: list[str] | None = None
    """Which tasks; null: all tasks of the benchmark."""


class GainOverBaseline(Section):
    """Figure `gain_over_baseline`: the gain over the `baseline` method, in some columns."""

    columns: list[str] | None = None
    """Which tasks or averages; null: the averages among the columns of tables."""


class Sweep(Section):
    """Figure `sweep`: scores over the values of one key, from variants of one method or several."""

    title: str = "value of the key"
    """Name of the horizontal axis."""
    values: dict[str, Float] = {}
    """Variant, or method where it is the unchanged one → its value of the key."""
    columns: list[str] | None = None
    """Which tasks or averages; null: the averages among the columns of tables."""


class Reproduction(Section):
    """Figure `reproduction`: measured against published numbers, one point per cell."""

    published: Name | None = None
    """File in paper/ (without .csv)."""


class EpochsToAccuracy(Section):
    """Table `epochs_to_accuracy`: when one method reaches each other one's final score."""

    method: Name = "amorlip_l2log"
    """The method that is followed."""
    task: str | None = None
    """Which task; null: the benchmark's first that was evaluated after each epoch."""


class LogZError(Section):
    """Figure `log_z_error`: error of the estimated log Z over training, by method."""

    relative: bool = True
    """True: over the variance of log Z in the batch, so 1 is the error of the best constant. False: the mean square."""


class AccuracyOverCost(Section):
    """Figure `accuracy_over_cost`: a task evaluated after each epoch, over what training has cost."""

    costs: list[Literal["samples", "device_hours"]] = ["samples", "device_hours"]
    """Panels next to each other: pairs seen, and hours of training times the GPUs (or processes) of the run."""
    task: str | None = None
    """Which task; null: the benchmark's first that was evaluated after each epoch."""


class CriticalDifference(Section):
    """Figure `critical_difference`: mean ranks over tasks, and what differs. It has no options."""


class PairedTests(Section):
    """Table `paired_tests`: on how many tasks predictions differ significantly from the `baseline`'s."""

    tasks: list[str] | None = None
    """Which tasks of classification; null: all of the benchmark."""


class TrainingCurves(Section):
    """Figure `training_curves`: losses, logit scale and log Z error over steps. It has no options."""


TABLES: dict[str, type[Section]] = {
    "comparison": Comparison,
    "epochs_to_accuracy": EpochsToAccuracy,
    "paired_tests": PairedTests,
}
FIGURES: dict[str, type[Section]] = {
    "accuracy_over_cost": AccuracyOverCost,
    "accuracy_over_epochs": AccuracyOverEpochs,
    "critical_difference": CriticalDifference,
    "difference_to_baseline": DifferenceToBaseline,
    "gain_over_baseline": GainOverBaseline,
    "log_z_error": LogZError,
    "reproduction": Reproduction,
    "sweep": Sweep,
    "training_curves": TrainingCurves,
}


def shows_cost(options: Section) -> bool:
    """Whether a table or figure needs the provenance.json of its runs."""
    if isinstance(options, Comparison):
        return options.cost is not None and options.cost_file is None
    return isinstance(options, AccuracyOverCost)


def options_type(kind: Literal["table", "figure"], function: str) -> type[Section]:
    """The type of a function's options. Raises AmorlipError for an unknown function, with the nearest known one."""
    known = {"table": TABLES, "figure": FIGURES}[kind]
    if function not in known:
        raise AmorlipError(unknown_key(function, known, f"{kind} function"))
    return known[function]
