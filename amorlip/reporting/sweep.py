"""Figure `sweep`: scores over the values of one key, from variants of one method or several."""

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
Lines = dict[str, dict[float, RowKey]]
"""Method → value of the key → row that has it, in the order of the values."""
Statistics = dict[RowKey, tuple[float, float]]
"""Row → mean and standard deviation over its seeds [percent]."""


def sweep(settings: FigureSettings, options: Sweep) -> Figure:
    """One panel per scale and column, one line per method: a score at each value of the key, evenly spaced.

    Points are means over seeds, whiskers ± one standard deviation (n - 1). A baseline without values is a dashed line.
    """
    columns = chosen_columns(settings.benchmark, options.columns)
    scales = {scale: lines for scale in scale_titles(settings.runs) if (lines := _lines(settings, options, scale))}
    if not scales or not columns:
        return figure_text.message(settings.style, "No run has a value of the key (options.values)")
    shown = [(scale, column) for scale in scales for column in columns]
    across = min(MOST_COLUMNS, len(columns))
    down = panels.grid_shape(len(shown), across)[0]
    figure = style.new_figure(settings.style.width_in, 0.7 * settings.style.height_in * down)
    grid: np.ndarray = figure.subplots(down, across, squeeze=False)
    titles = []
    for axes, (scale, column) in zip(panels.use_first(grid, len(shown)), shown, strict=True):
        _draw(axes, scales[scale], _statistics(settings, column), settings)
        name = column_title(settings.benchmark, column)
        titles.append((axes, [scale_titles(settings.runs)[scale], name] if len(scales) > 1 else [name]))
    figure.supxlabel(figure_text.wrap(figure, options.title, 0.95 * figure.bbox.width), fontsize="medium")
    figure.supylabel("score [%]", fontsize="medium")
    methods = {method for lines in scales.values() for method in lines} | {settings.experiment.baseline}
    if unchanged := [run for run in settings.runs if run.method in methods and not run.variant]:
        figure_text.add_legend(figure, unchanged)
    counts = figure_text.wrap_titles(figure, titles)
    figure_text.grow(figure, sum(max(counts[at : at + across]) - 1 for at in range(0, len(counts), across)) / 5)
    return figure


def _lines(settings: FigureSettings, options: Sweep, scale: str) -> Lines:
    found: Lines = {}
    for key in by_row(settings.runs):
        name = key[2] or key[1]
        if key[0] == scale and name in options.values:
            found.setdefault(key[1], {})[options.values[name]] = key
    return {method: dict(sorted(rows.items())) for method, rows in found.items()}


def _statistics(settings: FigureSettings, column: str) -> Statistics:
    values = read_evaluations(settings.evaluations, settings.runs, settings.benchmark)
    summary = summarize(scores(values, settings.runs, settings.benchmark))
    means, spreads = (100 * frame[column] for frame in (summary.mean, summary.std))
    return {
        (str(key[0]), str(key[1]), str(key[2])): (float(mean), float(spread))
        for key, mean, spread in zip(means.index, means, spreads, strict=True)
    }


def _draw(axes: Axes, lines: Lines, found: Statistics, settings: FigureSettings) -> None:
    values = sorted({value for rows in lines.values() for value in rows})
    for number, (method, rows) in enumerate(lines.items()):
        means, spreads = zip(*(found[key] for key in rows.values()), strict=True)
        color = style.COLORS.get(method, style.SPARE[number % len(style.SPARE)])
        places = [values.index(value) for value in rows]
        axes.errorbar(places, means, yerr=spreads, color=color, marker="o", markersize=4, capsize=2, elinewidth=0.9)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.margins(y=0.15)
    scale = next(iter(next(iter(lines.values())).values()))[0]
    baseline = found.get((scale, settings.experiment.baseline, ""))
    if baseline is not None and settings.experiment.baseline not in lines:
        axes.axhline(baseline[0], color=style.COLORS.get(settings.experiment.baseline, style.MUTED), linestyle="--")
