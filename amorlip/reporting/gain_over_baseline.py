"""Figure `gain_over_baseline`: what each method gains over one of them, in a few columns of the benchmark."""

from __future__ import annotations

import math

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import GainOverBaseline
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.difference_to_baseline import baseline_title, signed
from amorlip.reporting.evaluations import chosen_columns, column_title, read_evaluations, scores, summarize
from amorlip.reporting.runs import RowKey, by_row, scale_titles

MOST_COLUMNS = 2
"""Panels next to each other."""
NUMBER_SIZE = 0.7
"""Size of the bars' numbers, in units of the style's text."""
BARS = 0.8
"""Share of a group's place that its bars take."""


def gain_over_baseline(settings: FigureSettings, options: GainOverBaseline) -> Figure:
    """One panel per scale, one group of bars per column: mean over seeds minus the baseline's [percentage points]."""
    columns = chosen_columns(settings.benchmark, options.columns)
    gains = _gains(settings, columns)
    scales = {scale: title for scale, title in scale_titles(settings.runs).items() if any(k[0] == scale for k in gains)}
    if not columns or not scales:
        return figure_text.message(settings.style, f"No method to compare with {baseline_title(settings)}")
    rows, across = panels.grid_shape(len(scales), MOST_COLUMNS)
    figure = style.new_figure(settings.style.width_in, settings.style.height_in * rows)
    grid: np.ndarray = figure.subplots(rows, across, sharey=True, squeeze=False)
    axes_of = dict(zip(scales, panels.use_first(grid, len(scales)), strict=True))
    for scale, axes in axes_of.items():
        _draw(axes, {key: values for key, values in gains.items() if key[0] == scale}, settings)
    _label(figure, axes_of, columns, settings)
    for scale, axes in axes_of.items():
        _print_numbers(axes, {key: values for key, values in gains.items() if key[0] == scale})
    return figure


def _gains(settings: FigureSettings, columns: list[str]) -> dict[RowKey, list[float]]:
    """Row other than the baseline's → gain in each column; NaN where one of the two was not measured."""
    values = read_evaluations(settings.evaluations, settings.runs, settings.benchmark)
    means = 100 * summarize(scores(values, settings.runs, settings.benchmark)).mean[columns]
    found: dict[RowKey, list[float]] = {}
    rows = {
        (str(k[0]), str(k[1]), str(k[2])): row for k, row in zip(means.index, means.to_numpy().tolist(), strict=True)
    }
    for key in by_row(settings.runs):
        reference = (key[0], settings.experiment.baseline, "")
        if key != reference and reference in rows:
            found[key] = [value - base for value, base in zip(rows[key], rows[reference], strict=True)]
    return found


def _draw(axes: Axes, gains: dict[RowKey, list[float]], settings: FigureSettings) -> None:
    looks, width = style.looks(settings.runs), BARS / len(gains)
    groups = len(next(iter(gains.values())))
    for number, (key, values) in enumerate(gains.items()):
        places = [place - BARS / 2 + width * (number + 0.5) for place in range(groups)]
        axes.bar(places, values, width=0.92 * width, color=looks[key[1:]].color)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", visible=False)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, groups - 0.4)
    axes.margins(y=0.15)


def _print_numbers(axes: Axes, gains: dict[RowKey, list[float]]) -> None:
    """Each bar's number at its end: upright where a bar is narrower, and none where it is narrower than a line."""
    width, size = BARS / len(gains), NUMBER_SIZE * rcParams["font.size"]
    points = axes.get_window_extent().width / axes.figure.dpi * 72 * width / (axes.get_xlim()[1] - axes.get_xlim()[0])
    digits = max(len(signed(value)) for values in gains.values() for value in values)
    if points < 1.3 * size:
        return
    rotation = 0 if points > 0.75 * size * digits else 90
    for number, values in enumerate(gains.values()):
        for place, value in enumerate(values):
            if math.isnan(value):
                continue
            up = value >= 0
            axes.annotate(
                signed(value), (place - BARS / 2 + width * (number + 0.5), value), xytext=(0, 2 if up else -2),
                textcoords="offset points", ha="center", va="bottom" if up else "top", fontsize=size,
                rotation=rotation,
            )  # fmt: skip


def _label(figure: Figure, axes_of: dict[str, Axes], columns: list[str], settings: FigureSettings) -> None:
    """Axes, legend and titles. The columns' titles are wrapped to the width of a group, once the panels have it."""
    quantity = f"gain over {baseline_title(settings)} [percentage points]"
    height = figure.bbox.height / math.ceil(len(axes_of) / MOST_COLUMNS)
    for axes in list(axes_of.values())[::MOST_COLUMNS]:
        axes.set_ylabel(figure_text.wrap(figure, quantity, 0.7 * height))
    for axes in axes_of.values():
        axes.set_xticks(range(len(columns)), [""] * len(columns))
        axes.xaxis.set_tick_params(labelbottom=True)
    figure_text.add_legend(figure, [run for run in settings.runs if run.row[1:] != (settings.experiment.baseline, "")])
    titles = scale_titles(settings.runs)
    lines = [1]
    if len(axes_of) > 1:
        lines = figure_text.wrap_titles(figure, [(axes, [titles[scale]]) for scale, axes in axes_of.items()])
    figure.draw_without_rendering()
    width = next(iter(axes_of.values())).get_window_extent().width / (len(columns) + 0.2)
    names = [figure_text.wrap(figure, column_title(settings.benchmark, column), 0.95 * width) for column in columns]
    for axes in axes_of.values():
        axes.set_xticks(range(len(columns)), names)
    more = max(lines) - 1 + max(name.count("\n") for name in names)
    figure_text.grow(figure, more * math.ceil(len(axes_of) / MOST_COLUMNS) * figure_text.line_height())
