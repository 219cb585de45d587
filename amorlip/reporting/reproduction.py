"""Figure `reproduction`: what was measured here against what a paper printed, one point per cell of its table."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import Reproduction
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.evaluations import read_evaluations, scores, summarize
from amorlip.reporting.published import read_published
from amorlip.reporting.runs import RowKey, scale_titles

MOST_COLUMNS = 2
"""Panels next to each other."""
Points = dict[RowKey, list[tuple[float, float]]]
"""Row → (published, measured) of each cell [percent]."""


def reproduction(settings: FigureSettings, options: Reproduction) -> Figure:
    """One panel per scale; on the diagonal both numbers are equal. Titles give the mean and largest difference."""
    points = _points(settings)
    scales = {
        scale: title for scale, title in scale_titles(settings.runs).items() if any(k[0] == scale for k in points)
    }
    if not scales:
        return figure_text.message(settings.style, "No run has published numbers to compare with (options.published)")
    rows, across = panels.grid_shape(len(scales), MOST_COLUMNS)
    width = settings.style.width_in / across
    figure = style.new_figure(settings.style.width_in, min(width, settings.style.height_in * 1.2) * rows)
    grid: np.ndarray = figure.subplots(rows, across, squeeze=False)
    looks, titles = style.looks(settings.runs), []
    for (scale, title), axes in zip(scales.items(), panels.use_first(grid, len(scales)), strict=True):
        cells = {key: found for key, found in points.items() if key[0] == scale}
        for key, found in cells.items():
            axes.plot(*zip(*found, strict=True), "o", color=looks[key[1:]].color, markersize=4, alpha=0.8)
        _frame(axes, [value for found in cells.values() for pair in found for value in pair])
        titles.append((axes, [title, _difference([pair for found in cells.values() for pair in found])]))
    figure.supxlabel("published [%]", fontsize="medium")
    for axes in grid[:, 0]:  # not the figure's: square panels do not begin at its edge
        axes.set_ylabel("measured here [%]")
    figure_text.add_legend(figure, [run for run in settings.runs if run.row in points])
    counts = figure_text.wrap_titles(figure, titles)
    more = sum(max(counts[at : at + across]) - 1 for at in range(0, len(counts), across))
    figure_text.grow(figure, more * figure_text.line_height())
    return figure


def _points(settings: FigureSettings) -> Points:
    if settings.published is None:
        return {}
    columns = [*settings.benchmark.tasks, *settings.benchmark.averages]
    values = read_evaluations(settings.evaluations, settings.runs, settings.benchmark)
    means = summarize(scores(values, settings.runs, settings.benchmark)).mean
    printed = read_published(settings.published, columns)
    points: Points = {}
    for key, row in zip(means.index, means.to_dict("records"), strict=True):
        row_key = (str(key[0]), str(key[1]), str(key[2]))
        pairs = [(100 * value, 100 * row[column]) for column, value in printed.get(row_key, {}).items()]
        if pairs := [pair for pair in pairs if pair[1] == pair[1]]:  # NaN: not measured
            points[row_key] = pairs
    return points


def _frame(axes: Axes, values: list[float]) -> None:
    """Equal limits of both axes, and the diagonal."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=style.MUTED, linewidth=0.8, linestyle="--", zorder=1)
    axes.set(xlim=limits, ylim=limits, aspect="equal", adjustable="box")


def _difference(pairs: list[tuple[float, float]]) -> str:
    mean = round(sum(measured - printed for printed, measured in pairs) / len(pairs), 2) + 0.0  # no −0.00
    largest = max(abs(measured - printed) for printed, measured in pairs)
    return f"{len(pairs)} cells: mean difference {mean:+.2f}, largest {largest:.2f}".replace("-", "−")
