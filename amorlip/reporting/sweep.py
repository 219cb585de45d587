"""Figure `sweep`: scores over the values of one key, from variants of a method."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import Sweep
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.evaluations import chosen_columns, column_title, read_evaluations, scores, summarize
from amorlip.reporting.runs import RowKey, by_row, scale_titles

MOST_COLUMNS = 3
"""Panels next to each other."""
Statistics = dict[RowKey, tuple[float, float]]
"""Row → mean and standard deviation over its seeds [percent]."""


def sweep(settings: FigureSettings, options: Sweep) -> Figure:
    """One panel per scale and column: a score at each value of the key, evenly spaced; the baseline's as a dashed line.

    Points are means over seeds, whiskers ± one standard deviation (n - 1).
    """
    columns = chosen_columns(settings.benchmark, options.columns)
    scales = {scale: rows for scale in scale_titles(settings.runs) if (rows := _rows(settings, options, scale))}
    if not scales or not columns:
        return figure_text.message(settings.style, "No run has a value of the key (options.values)")
    shown = [(scale, column) for scale in scales for column in columns]
    across = min(MOST_COLUMNS, len(columns))
    lines = panels.grid_shape(len(shown), across)[0]
    figure = style.new_figure(settings.style.width_in, 0.7 * settings.style.height_in * lines)
    grid: np.ndarray = figure.subplots(lines, across, squeeze=False)
    titles = []
    for axes, (scale, column) in zip(panels.use_first(grid, len(shown)), shown, strict=True):
        _draw(axes, scales[scale], _statistics(settings, column), settings)
        name = column_title(settings.benchmark, column)
        titles.append((axes, [scale_titles(settings.runs)[scale], name] if len(scales) > 1 else [name]))
    figure.supxlabel(figure_text.wrap(figure, options.title, 0.95 * figure.bbox.width), fontsize="medium")
    figure.supylabel("score [%]", fontsize="medium")
    methods = {key[1] for rows in scales.values() for key in rows.values()} | {settings.experiment.baseline}
    if unchanged := [run for run in settings.runs if run.method in methods and not run.variant]:
        figure_text.add_legend(figure, unchanged)
    counts = figure_text.wrap_titles(figure, titles)
    figure_text.grow(figure, sum(max(counts[at : at + across]) - 1 for at in range(0, len(counts), across)) / 5)
    return figure


def _rows(settings: FigureSettings, options: Sweep, scale: str) -> dict[float, RowKey]:
    """Value of the key → row that has it, in the order of the values."""
    found = {}
    for key in by_row(settings.runs):
        name = key[2] or key[1]
        if key[0] == scale and name in options.values:
            found[options.values[name]] = key
    return dict(sorted(found.items()))


def _statistics(settings: FigureSettings, column: str) -> Statistics:
    values = read_evaluations(settings.evaluations, settings.runs, settings.benchmark)
    summary = summarize(scores(values, settings.runs, settings.benchmark))
    means, spreads = (100 * frame[column] for frame in (summary.mean, summary.std))
    return {
        (str(key[0]), str(key[1]), str(key[2])): (float(mean), float(spread))
        for key, mean, spread in zip(means.index, means, spreads, strict=True)
    }


def _draw(axes: Axes, rows: dict[float, RowKey], found: Statistics, settings: FigureSettings) -> None:
    places = range(len(rows))
    means, spreads = zip(*(found[key] for key in rows.values()), strict=True)
    method = next(iter(rows.values()))[1]
    color = style.COLORS.get(method, style.SPARE[0])
    axes.errorbar(places, means, yerr=spreads, color=color, marker="o", markersize=4, capsize=2, elinewidth=0.9)
    axes.set_xticks(places, [f"{value:g}" for value in rows])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    axes.margins(y=0.15)
    scale = next(iter(rows.values()))[0]
    baseline = found.get((scale, settings.experiment.baseline, ""))
    if baseline is not None:
        axes.axhline(baseline[0], color=style.COLORS.get(settings.experiment.baseline, style.MUTED), linestyle="--")
