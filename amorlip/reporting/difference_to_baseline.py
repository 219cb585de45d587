"""Figure `difference_to_baseline`: where methods gain and lose against one of them, task by task."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.display import FigureSettings
from amorlip.config.experiment import DifferenceToBaseline
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.evaluations import read_evaluations, scores
from amorlip.reporting.runs import KEYS, RowKey, by_row, scale_titles

MOST_COLUMNS = 3
"""Panels next to each other."""
LABEL_WIDTH = 0.28
"""Of the figure: at most, for the tasks' titles."""
Titles = list[tuple[Axes, list[str]]]
"""Each panel with its title's paragraphs."""


def difference_to_baseline(settings: FigureSettings, options: DifferenceToBaseline) -> Figure:
    """One panel per scale and method, one bar per task: main metric minus the baseline's [percentage points].

    Runs are compared seed by seed; whiskers are ± one standard deviation (n - 1) of these differences. Tasks are
    sorted by their mean difference over a scale's methods; a dotted line marks the mean over the tasks.
    """
    tasks = list(settings.benchmark.tasks) if options.tasks is None else options.tasks
    differences = paired_differences(settings, tasks)
    by_scale: dict[str, list[RowKey]] = {}
    for key in differences:
        by_scale.setdefault(key[0], []).append(key)
    if not by_scale:
        return figure_text.message(settings.style, f"No method to compare with {baseline_title(settings)}")
    columns = min(MOST_COLUMNS, max(map(len, by_scale.values())))
    rows = [math.ceil(len(keys) / columns) for keys in by_scale.values()]
    figure = style.new_figure(settings.style.width_in, settings.style.height_in)
    labels = _task_labels(figure, tasks, settings)
    height = _panel_height(settings, list(labels.values()), len(by_scale))
    figure.set_size_inches(settings.style.width_in, height * sum(rows))
    grid = figure.add_gridspec(len(rows), 1, height_ratios=rows)
    titles, more_lines = [], []
    for place, (scale, keys) in enumerate(by_scale.items()):
        part = figure.add_subfigure(grid[place])
        axes: np.ndarray = part.subplots(rows[place], columns, sharex=True, sharey=True, squeeze=False)
        shown = {key: differences[key] for key in keys}
        titles.append(_draw_scale(panels.use_first(axes, len(keys)), shown, labels, settings))
        scale_title = scale_titles(settings.runs)[scale] if len(by_scale) > 1 else ""
        more_lines.append(_label(figure, part, scale_title, settings))
    lines = iter(figure_text.wrap_titles(figure, [panel for panel_titles in titles for panel in panel_titles]))
    for place, panel_titles in enumerate(titles):
        more_lines[place] += _more_lines([next(lines) for _ in panel_titles], columns, usual=len(panel_titles[0][1]))
    heights = [height * count + more * figure_text.line_height() for count, more in zip(rows, more_lines, strict=True)]
    grid.set_height_ratios(heights)
    figure_text.grow(figure, sum(heights) - height * sum(rows))
    return figure


def _task_labels(figure: Figure, tasks: list[str], settings: FigureSettings) -> dict[str, str]:
    """Task → its title in lines that leave room for the panels."""
    width = LABEL_WIDTH * figure.bbox.width
    return {task: figure_text.wrap(figure, settings.benchmark.tasks[task].title, width) for task in tasks}


def _panel_height(settings: FigureSettings, labels: list[str], scales: int) -> float:
    """Height of a row of panels [inches] with room for each task's label."""
    lines = 1 + max(label.count("\n") for label in labels)
    label_height = (1.2 * lines + 0.4) * settings.style.font_size / 72
    return max(settings.style.height_in / scales, label_height * len(labels) + 0.8)


def baseline_title(settings: FigureSettings) -> str:
    baseline = settings.experiment.baseline
    return next((run.title for run in settings.runs if run.row[1:] == (baseline, "")), f"'{baseline}'")


def _label(figure: Figure, part: SubFigure, scale_title: str, settings: FigureSettings) -> int:
    """Name the scale and the quantity of one scale's panels; returns how many extra lines this takes."""
    width = 0.95 * figure.bbox.width
    scale_title = figure_text.wrap(figure, scale_title, width, bold=True)
    if scale_title:
        part.suptitle(scale_title, fontweight="bold", fontsize="medium")
    quantity = f"difference from {baseline_title(settings)} [percentage points]"
    quantity = figure_text.wrap(figure, quantity, width)
    part.supxlabel(quantity, fontsize="medium")
    return scale_title.count("\n") + quantity.count("\n")


def _more_lines(lines: list[int], columns: int, usual: int) -> int:
    """How many lines the rows of panels need for their titles more than the usual one or two."""
    return sum(max(lines[start : start + columns]) - usual for start in range(0, len(lines), columns))


def paired_differences(settings: FigureSettings, tasks: list[str]) -> dict[RowKey, pd.DataFrame]:
    """Differences of the main metrics from the baseline's, seed by seed, then over seeds.

    Returns:
        Row other than the baseline's (see `runs.ROW`) → frame with index task and the columns mean and std
        [percentage points; std NaN for one seed]; rows without a seed in common with the baseline are left out.

    Raises:
        AmorlipError: for an unknown task.
    """
    benchmark, runs = settings.benchmark, settings.runs
    for task in tasks:
        if task not in benchmark.tasks:
            raise AmorlipError(f"options.tasks: {unknown_key(task, benchmark.tasks, 'task')}")
    percent = scores(read_evaluations(settings.evaluations, runs, benchmark), runs, benchmark)[tasks] * 100
    frames: dict[RowKey, pd.DataFrame] = {}
    for row, group in by_row(runs).items():
        index = pd.MultiIndex.from_tuples([run.key for run in group], names=KEYS)
        frames[row] = percent.reindex(index=index).set_axis([run.seed for run in group])
    differences = {}
    for key, frame in frames.items():
        reference = (key[0], settings.experiment.baseline, "")
        if key != reference and reference in frames:
            by_seed = (frame - frames[reference]).dropna(how="all")
            if len(by_seed):
                differences[key] = pd.DataFrame({"mean": by_seed.mean(), "std": by_seed.std(ddof=1)})
    return differences


def _draw_scale(
    axes_list: list[Axes], differences: dict[RowKey, pd.DataFrame], labels: dict[str, str], settings: FigureSettings
) -> Titles:
    """The panels of one scale, with the same order of tasks; each panel's title, not yet set."""
    methods, looks = {run.row: run.title for run in settings.runs}, style.looks(settings.runs)
    means = pd.DataFrame({index: frame["mean"] for index, frame in enumerate(differences.values())})
    order = list(means.mean(axis=1).sort_values(kind="stable", na_position="first").index)
    titles: Titles = []
    for axes, (key, frame) in zip(axes_list, differences.items(), strict=True):
        frame = frame.loc[order]
        _draw_bars(axes, frame, looks[key[1:]].color)
        _label_tasks(axes, [labels[task] for task in order])
        mean = _mean(frame["mean"])
        titles.append((axes, [f"{methods[key]}: {mean}"] if len(axes_list) == 1 else [methods[key], mean]))
        if len(axes_list) == 1:
            _print_values(axes, frame)
    return titles


def _draw_bars(axes: Axes, frame: pd.DataFrame, color: str) -> None:
    places = range(len(frame))
    bars = axes.barh(places, frame["mean"], color=color, height=0.7)
    for bar, value in zip(bars, frame["mean"], strict=True):
        bar.set_alpha(1.0 if value >= 0 else 0.55)
    axes.errorbar(frame["mean"], places, xerr=frame["std"], fmt="none", ecolor="#222222", elinewidth=0.9, capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(frame["mean"].mean(), color="black", linewidth=1, linestyle=":")


def _label_tasks(axes: Axes, titles: list[str]) -> None:
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(-0.7, len(titles) - 0.3)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _mean(values: pd.Series) -> str:
    """The mean over the tasks that were measured, and how many these are if not all."""
    measured = int(values.notna().sum())
    missing = "" if measured == len(values) else f" ({measured} of {len(values)} tasks)"
    return f"mean {signed(float(values.mean()))}{missing}"


def signed(value: float) -> str:
    """With two decimals and its sign, which zero has not."""
    text = f"{value:+.2f}"
    return text.replace("-", "−") if float(text) else text[1:]


def _print_values(axes: Axes, frame: pd.DataFrame) -> None:
    """The number of each bar beyond its end and whisker."""
    for place, (mean, std) in enumerate(zip(frame["mean"], frame["std"].fillna(0), strict=True)):
        if not math.isnan(mean):
            side = 1 if mean >= 0 else -1
            axes.annotate(
                signed(mean), (mean + side * std, place), textcoords="offset points", xytext=(4 * side, 0),
                ha="left" if side > 0 else "right", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    axes.margins(x=0.12)
