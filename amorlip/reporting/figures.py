"""Figures: from result files to png and pdf.

A new figure is one function in `FUNCTIONS` and one options type in `amorlip.config.experiment`. A function takes the
inputs, its options and the style, and returns a matplotlib figure.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.experiment import AccuracyOverEpochs, DifferenceToBaseline, Experiment, TrainingCurves, options_type
from amorlip.config.load import validate
from amorlip.config.study import FigureStyle
from amorlip.reporting import collect, style
from amorlip.reporting.collect import Inputs, RunLabel

METRICS = {
    "acc1": "top-1 accuracy",
    "acc5": "top-5 accuracy",
    "mean_per_class_recall": "mean per-class recall",
    "mean_recall@1": "mean recall@1",
    "mean_recall@5": "mean recall@5",
    "jaccard_score": "Jaccard score",
    "jaccard_score_10-12": "Jaccard score, 10-12 candidates",
    "acc_wg": "accuracy of the worst group",
}
"""Names of metrics on axes; others are shown as they are."""


def draw(
    experiment_name: str,
    experiment: Experiment,
    benchmark: Benchmark,
    runs: list[RunLabel],
    evaluations: list[Path],
    metrics: list[Path],
    figure_style: FigureStyle,
    outputs: Mapping[str, Path],
) -> None:
    """Draw one figure.

    Args:
        experiment_name: names it in messages.
        experiment: function, options and baseline.
        benchmark: tasks with titles, main metrics and chance.
        runs: what is shown, in order.
        evaluations: JSON files, in any order.
        metrics: metrics.jsonl files, in any order.
        figure_style: size [inches], resolution and size of the text.
        outputs: `png` and `pdf` → path.

    Raises:
        AmorlipError: for an unknown function, wrong options, or result files that do not fit `runs` and `benchmark`.
    """
    where = f"experiment {experiment_name}"
    chosen = validate(options_type("figure", experiment.function), experiment.options, f"{where}: options")
    inputs = Inputs(experiment_name, experiment, benchmark, runs, evaluations, metrics)
    with style.context(figure_style):
        drawn = FUNCTIONS[experiment.function](inputs, chosen, figure_style)
        style.save(drawn, outputs, figure_style.dpi)


def _legend(figure: Figure, runs: list[RunLabel]) -> None:
    """One entry a method above all panels."""
    colors = style.colors(runs)
    titles = {run.row[1:]: run.title for run in runs}
    handles = [Line2D([], [], color=colors[key], label=title) for key, title in titles.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))


def _use(panels: np.ndarray, count: int) -> list[Axes]:
    """The first `count` of a grid of panels; the others are removed, and those above them get their tick labels."""
    columns = panels.shape[1]
    for index, axes in enumerate(panels.flat):
        if index >= count:
            axes.remove()
        elif index + columns >= count:
            axes.xaxis.set_tick_params(labelbottom=True)
    return list(panels.flat)[:count]


def _line(axes: Axes, line: pd.DataFrame, color: str, band: str = "range", factor: float = 1.0, **looks) -> None:
    """Mean over seeds with its spread, where there are several seeds."""
    line = line.sort_index()
    axes.plot(line.index, line["mean"] * factor, color=color, **looks)
    several = line[line["count"] > 1]
    if len(several):
        low = several["min"] if band == "range" else several["mean"] - several["std"]
        high = several["max"] if band == "range" else several["mean"] + several["std"]
        axes.fill_between(several.index, low * factor, high * factor, color=color, alpha=0.2, linewidth=0)


# ---------------------------------------------------------------- accuracy over epochs


def accuracy_over_epochs(inputs: Inputs, chosen: AccuracyOverEpochs, looks: FigureStyle) -> Figure:
    """One panel a scale, one line a method: a metric [%] over completed epochs; band: spread over seeds."""
    runs = inputs.runs
    epochs = collect.metrics(inputs.metrics, runs).epochs
    if reason := _nothing_to_show(epochs, chosen, inputs):
        return _message(looks, reason)
    task, metric = _epoch_metric(epochs, chosen, inputs.benchmark)
    epochs = epochs[(epochs["task"] == task) & (epochs["metric"] == metric)]
    lines = collect.over_seeds(epochs, "epoch", "value")
    scales = collect.scales(runs)
    columns = min(2, len(scales))
    rows = math.ceil(len(scales) / columns)
    figure = style.figure(looks.width_in, looks.height_in * rows * (1 if columns == 1 else 0.8))
    panels = _use(figure.subplots(rows, columns, sharey=True, squeeze=False), len(scales))
    for axes, (scale, scale_title) in zip(panels, scales.items(), strict=True):
        shown = {key: line for key, line in lines.items() if key[0] == scale}
        _accuracy_panel(axes, shown, style.colors(runs), chosen.band)
        if metric == inputs.benchmark.tasks[task].main_metric:
            _chance(axes, inputs.benchmark.tasks[task].random_score)
        axes.set_title(scale_title if len(scales) > 1 else "")
        axes.set_ylim(bottom=0)
    figure.supxlabel("epochs", fontsize="medium")
    figure.supylabel(f"{inputs.benchmark.tasks[task].title}: {METRICS.get(metric, metric)} [%]", fontsize="medium")
    _legend(figure, runs)
    return figure


def _nothing_to_show(epochs: pd.DataFrame, chosen: AccuracyOverEpochs, inputs: Inputs) -> str | None:
    """Why no task that the figure may show was evaluated; None if one was, or if the options are at fault."""
    wanted = inputs.benchmark.tasks.keys() if chosen.task is None else {chosen.task}
    if not wanted.isdisjoint(epochs["task"]):
        return None
    lacking = [task for task in collect.missing(inputs.evaluations, inputs.benchmark) if task in wanted]
    if lacking:
        titles = ", ".join(inputs.benchmark.tasks[task].title for task in lacking)
        return textwrap.fill(f"Nothing was evaluated after each epoch; sets that could not be had: {titles}", 90)
    return "No task was evaluated after each epoch (epoch_tasks in the recipe)" if epochs.empty else None


def _accuracy_panel(
    axes: Axes, lines: dict[tuple[str, str, str], pd.DataFrame], colors: dict[tuple[str, str], str], band: str
) -> None:
    for key, line in lines.items():
        # few epochs are points that were measured; many would only be beads on a string
        marker = "o" if len(line) <= 15 else None
        _line(axes, line, colors[key[1:]], band, 100, marker=marker, markersize=3.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def _chance(axes: Axes, score: float | None) -> None:
    if score is None:
        return
    axes.axhline(100 * score, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=1)
    place = {"xycoords": axes.get_yaxis_transform(), "xytext": (0, 2), "textcoords": "offset points"}
    axes.annotate("chance", (1, 100 * score), color=style.MUTED, ha="right", va="bottom", **place)


def _epoch_metric(epochs: pd.DataFrame, chosen: AccuracyOverEpochs, benchmark: Benchmark) -> tuple[str, str]:
    """Task and metric to show, among those that the runs evaluated after each epoch."""
    found = epochs.groupby("task", sort=False)["metric"].agg(set).to_dict()
    known = [task for task in benchmark.tasks if task in found]
    task = chosen.task or next(iter(known or found))
    if task not in known:
        raise AmorlipError(f"options.task: {unknown_key(task, known, 'task evaluated after each epoch')}")
    metric = benchmark.tasks[task].main_metric if chosen.metric is None else chosen.metric
    if metric not in found[task]:
        raise AmorlipError(f"options.metric: {unknown_key(metric, found[task], f'metric of {task}')}")
    return task, metric


# ---------------------------------------------------------------- difference to the baseline


def difference_to_baseline(inputs: Inputs, chosen: DifferenceToBaseline, looks: FigureStyle) -> Figure:
    """One panel a scale and method, one bar a task: main metric less the baseline's [percentage points].

    Runs are compared seed by seed; whiskers are ± one standard deviation (n - 1) of these differences. Tasks are
    sorted by their mean difference over a scale's methods; a dotted line marks the mean over the tasks.
    """
    tasks = list(inputs.benchmark.tasks) if chosen.tasks is None else chosen.tasks
    baseline = _baseline_title(inputs)
    differences = paired_differences(inputs, tasks)
    shown = {scale: [key for key in differences if key[0] == scale] for scale in collect.scales(inputs.runs)}
    shown = {scale: keys for scale, keys in shown.items() if keys}
    if not shown:
        return _message(looks, f"No method to compare with {baseline}")
    columns = min(3, max(map(len, shown.values())))
    rows = [math.ceil(len(keys) / columns) for keys in shown.values()]
    height = max(looks.height_in / len(rows), looks.font_size / 72 * 1.6 * len(tasks) + 0.8)
    figure = style.figure(looks.width_in, height * sum(rows))
    parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, count, (scale, keys) in zip(parts, rows, shown.items(), strict=True):
        if len(shown) > 1:
            part.suptitle(collect.scales(inputs.runs)[scale], fontweight="bold")
        panels = _use(part.subplots(count, columns, sharex=True, sharey=True, squeeze=False), len(keys))
        _difference_panels(panels, {key: differences[key] for key in keys}, inputs)
        part.supxlabel(f"difference to {baseline} [percentage points]", fontsize="medium")
    return figure


def _baseline_title(inputs: Inputs) -> str:
    baseline = inputs.experiment.baseline
    return next((run.title for run in inputs.runs if run.row[1:] == (baseline, "")), f"'{baseline}'")


def _message(looks: FigureStyle, text: str) -> Figure:
    """In place of a figure that has nothing to show: an error here would cost the whole report."""
    figure = style.figure(looks.width_in, 0.3 * looks.height_in)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=style.MUTED)
    return figure


def paired_differences(inputs: Inputs, tasks: list[str]) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Differences of the main metrics to the baseline's, seed by seed, then over seeds.

    Returns:
        Row other than the baseline's (see `collect.ROW`) → frame with index task and the columns mean and std
        [percentage points; std NaN for one seed]; rows without a seed in common with the baseline are left out.

    Raises:
        AmorlipError: for an unknown task.
    """
    benchmark, runs = inputs.benchmark, inputs.runs
    for task in tasks:
        if task not in benchmark.tasks:
            raise AmorlipError(f"options.tasks: {unknown_key(task, benchmark.tasks, 'task')}")
    scores = collect.scores(collect.evaluations(inputs.evaluations, runs, benchmark), runs, benchmark)[tasks] * 100
    by_row = {key: frame.droplevel(collect.ROW) for key, frame in scores.groupby(level=collect.ROW, sort=False)}
    differences = {}
    for key, frame in by_row.items():
        reference = (key[0], inputs.experiment.baseline, "")
        if key != reference and reference in by_row:
            by_seed = (frame - by_row[reference]).dropna(how="all")
            if len(by_seed):
                differences[key] = pd.DataFrame({"mean": by_seed.mean(), "std": by_seed.std(ddof=1)})
    return differences


def _difference_panels(
    panels: list[Axes], differences: dict[tuple[str, str, str], pd.DataFrame], inputs: Inputs
) -> None:
    """The panels of one scale, with the same order of tasks."""
    titles, colors = {run.row: run.title for run in inputs.runs}, style.colors(inputs.runs)
    means = pd.DataFrame({index: frame["mean"] for index, frame in enumerate(differences.values())})
    order = means.mean(axis=1).sort_values(kind="stable", na_position="first").index
    for axes, (key, frame) in zip(panels, differences.items(), strict=True):
        frame = frame.loc[order]
        places = range(len(order))
        bars = axes.barh(places, frame["mean"], color=colors[key[1:]], height=0.7)
        for bar, value in zip(bars, frame["mean"], strict=True):
            bar.set_alpha(1.0 if value >= 0 else 0.55)
        axes.errorbar(frame["mean"], places, xerr=frame["std"], fmt="none", ecolor="#222222", elinewidth=0.9, capsize=2)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.axvline(frame["mean"].mean(), color="black", linewidth=1, linestyle=":")
        axes.set_title(titles[key] + (": " if len(panels) == 1 else "\n") + _mean(frame["mean"]))
        axes.set_yticks(places, [inputs.benchmark.tasks[task].title for task in order])
        axes.set_ylim(-0.7, len(order) - 0.3)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        if len(panels) == 1:
            _print_values(axes, frame)


def _mean(values: pd.Series) -> str:
    """The mean over the tasks that were measured, and how many these are if not all."""
    measured = values.notna().sum()
    missing = "" if measured == len(values) else f" ({measured} of {len(values)} tasks)"
    return f"mean {_signed(values.mean())}{missing}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _print_values(axes: Axes, frame: pd.DataFrame) -> None:
    """The number of each bar beyond its end and whisker."""
    for place, (mean, std) in enumerate(zip(frame["mean"], frame["std"].fillna(0), strict=True)):
        if not math.isnan(mean):
            side = 1 if mean >= 0 else -1
            align = {"xytext": (4 * side, 0), "ha": "left" if side > 0 else "right", "va": "center"}
            align["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            axes.annotate(_signed(mean), (mean + side * std, place), textcoords="offset points", **align)
    axes.margins(x=0.12)


# ---------------------------------------------------------------- training curves


UNEXPLAINED = "log_z_unexplained"
CURVES = {"infonce": "InfoNCE [nats]", "logit_scale": "logit scale", UNEXPLAINED: "log Z error / variance"}
"""Logged quantities → names on axes."""


def training_curves(inputs: Inputs, chosen: TrainingCurves, looks: FigureStyle) -> Figure:
    """Over steps, one row a scale, all methods in each panel: InfoNCE, logit scale, error of log λ where logged.

    InfoNCE is the same quantity for every method, whatever it minimizes, so values compare; methods' own losses do
    not (AmorLIP's is divided by τ and contains ρ/τ, SigLIP's counts pairs). The error is mean (log λ - log Z)² over the
    variance of log Z, the mean of both modalities; a line marks 1, the error of the best constant.
    """
    runs = inputs.runs
    steps = collect.metrics(inputs.metrics, runs).steps
    if UNEXPLAINED in steps:  # an exact log Z has no place on a logarithmic axis
        steps = steps.assign(**{UNEXPLAINED: pd.to_numeric(steps[UNEXPLAINED]).where(lambda error: error > 0)})
    quantities = {name: collect.over_seeds(steps, "step", name) for name in CURVES}
    shown = [name for name in CURVES if quantities[name]]
    scales = collect.scales(runs)
    figure = style.figure(looks.width_in, 0.7 * looks.height_in * len(scales))
    grid = figure.subplots(len(scales), len(shown), squeeze=False)
    for row, (scale, title) in zip(grid, scales.items(), strict=True):
        for axes, name in zip(row, shown, strict=True):
            lines = {key: line for key, line in quantities[name].items() if key[0] == scale}
            _curves(axes, lines, style.colors(runs))
            axes.set_ylabel(CURVES[name])
            axes.set_xlabel("steps")
            if name == UNEXPLAINED and lines:
                axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
                _logarithmic(axes)
        if len(scales) > 1:
            row[0].set_title(title)
    _legend(figure, runs)
    return figure


def _curves(axes: Axes, lines: dict[tuple[str, str, str], pd.DataFrame], colors: dict[tuple[str, str], str]) -> None:
    for key, line in lines.items():
        _line(axes, line, colors[key[1:]], linewidth=1, marker="o" if len(line) == 1 else None)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with few and plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e3 else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


FUNCTIONS: dict[str, Callable[..., Figure]] = {
    "accuracy_over_epochs": accuracy_over_epochs,
    "difference_to_baseline": difference_to_baseline,
    "training_curves": training_curves,
}
"""Name in an experiment's `function` → function."""
