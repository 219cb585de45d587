"""Figure `accuracy_over_epochs`: a task that is evaluated after each epoch of training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.display import FigureSettings
from amorlip.config.experiment import AccuracyOverEpochs
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.evaluations import missing_tasks
from amorlip.reporting.metric_names import metric_name
from amorlip.reporting.runs import RowKey, scale_titles
from amorlip.reporting.training_metrics import over_seeds, read_training_metrics

MOST_COLUMNS = 2
"""Panels next to each other."""
MOST_MARKERS = 15
"""Epochs up to which each is marked: few are points that were measured, many would hide the line."""


def accuracy_over_epochs(settings: FigureSettings, options: AccuracyOverEpochs) -> Figure:
    """One panel per scale, one line per method: a metric [%] over completed epochs; band: spread over seeds."""
    epochs = read_training_metrics(settings.metrics, settings.runs).epochs
    if reason := _nothing_to_show(epochs, options, settings):
        return figure_text.message(settings.style, reason)
    task, metric = _epoch_metric(epochs, options, settings.benchmark)
    epochs = epochs[(epochs["task"] == task) & (epochs["metric"] == metric)]
    lines = over_seeds(epochs, "epoch", "value")
    figure, by_scale = _empty_panels(settings)
    for scale, axes in by_scale.items():
        shown = {key: line for key, line in lines.items() if key[0] == scale}
        _draw_panel(axes, shown, style.looks(settings.runs), options.band)
        if metric == settings.benchmark.tasks[task].main_metric:
            _draw_chance(axes, settings.benchmark.tasks[task].random_score)
    # after all panels are drawn: it fixes the upper limit, too, which they share
    next(iter(by_scale.values())).set_ylim(bottom=0)
    _add_titles(figure, by_scale, f"{settings.benchmark.tasks[task].title}: {metric_name(metric)} [%]", settings)
    return figure


def _empty_panels(settings: FigureSettings) -> tuple[Figure, dict[str, Axes]]:
    """A figure with one panel per scale."""
    scales = scale_titles(settings.runs)
    rows, columns = panels.grid_shape(len(scales), MOST_COLUMNS)
    height = settings.style.height_in * (1 if columns == 1 else 0.8)
    figure = style.new_figure(settings.style.width_in, height * rows)
    grid: np.ndarray = figure.subplots(rows, columns, sharey=True, squeeze=False)
    return figure, dict(zip(scales, panels.use_first(grid, len(scales)), strict=True))


def _add_titles(figure: Figure, by_scale: dict[str, Axes], quantity: str, settings: FigureSettings) -> None:
    figure.supxlabel("epochs", fontsize="medium")
    first = list(by_scale.values())[::MOST_COLUMNS]
    for axes in first:
        axes.set_ylabel(figure_text.wrap(figure, quantity, 0.7 * figure.bbox.height / len(first)))
    figure_text.add_legend(figure, settings.runs)
    titles = scale_titles(settings.runs)
    if len(titles) > 1:
        lines = figure_text.wrap_titles(figure, [(axes, [titles[scale]]) for scale, axes in by_scale.items()])
        figure_text.grow(figure, (max(lines) - 1) * len(lines) * figure_text.line_height())


def _nothing_to_show(epochs: pd.DataFrame, options: AccuracyOverEpochs, settings: FigureSettings) -> str | None:
    """Why no task that the figure may show was evaluated; None if one was, or if the options are wrong."""
    wanted = set(settings.benchmark.tasks) if options.task is None else {options.task}
    if not wanted.isdisjoint(epochs["task"]):
        return None
    missing = [task for task in missing_tasks(settings.evaluations, settings.benchmark) if task in wanted]
    if missing:
        titles = ", ".join(settings.benchmark.tasks[task].title for task in missing)
        return f"No task was evaluated after each epoch; missing evaluation sets: {titles}"
    return "No task was evaluated after each epoch (epoch_tasks in the recipe)" if epochs.empty else None


def _epoch_metric(epochs: pd.DataFrame, options: AccuracyOverEpochs, benchmark: Benchmark) -> tuple[str, str]:
    """Task and metric to show, among those that the runs evaluated after each epoch."""
    found: dict[str, set[str]] = {}
    for task, metric in zip(epochs["task"], epochs["metric"], strict=True):
        found.setdefault(task, set()).add(metric)
    known = [task for task in benchmark.tasks if task in found]
    task = options.task or next(iter(known or found))
    if task not in known:
        raise AmorlipError(f"options.task: {unknown_key(task, known, 'task evaluated after each epoch')}")
    metric = benchmark.tasks[task].main_metric if options.metric is None else options.metric
    if metric not in found[task]:
        raise AmorlipError(f"options.metric: {unknown_key(metric, found[task], f'metric of {task}')}")
    return task, metric


def _draw_panel(
    axes: Axes, lines: dict[RowKey, pd.DataFrame], looks: dict[tuple[str, str], style.Look], band: str
) -> None:
    for key, line in lines.items():
        marker = "o" if len(line) <= MOST_MARKERS else None
        panels.draw_line(axes, line, looks[key[1:]], band=band, factor=100, marker=marker)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def _draw_chance(axes: Axes, score: float | None) -> None:
    if score is None:
        return
    axes.axhline(100 * score, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=1)
    axes.annotate(
        "chance", (1, 100 * score), xycoords=axes.get_yaxis_transform(), xytext=(0, 2), textcoords="offset points",
        color=style.MUTED, ha="right", va="bottom",
    )  # fmt: skip
