"""Figure `log_z_error`: how well the methods estimate the partition function while they train."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import LogZError
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.runs import scale_titles
from amorlip.reporting.training_curves import UNEXPLAINED, scale_logarithmically
from amorlip.reporting.training_metrics import over_seeds, read_training_metrics

MOST_COLUMNS = 2
"""Panels next to each other."""


def log_z_error(settings: FigureSettings, options: LogZError) -> Figure:
    """One panel per scale, one line per method that logged it; the band covers the seeds.

    docs/decisions/2026-11-22-log-z-error.md says what this error can show.
    """
    column = UNEXPLAINED if options.relative else "log_z_error"
    steps = read_training_metrics(settings.metrics, settings.runs).steps
    if column in steps:  # an exact log Z has no place on a logarithmic axis
        steps = steps.assign(**{column: pd.to_numeric(steps[column]).where(lambda error: error > 0)})
    lines = over_seeds(steps, "step", column)
    scales = {scale: title for scale, title in scale_titles(settings.runs).items() if any(k[0] == scale for k in lines)}
    if not scales:
        return figure_text.message(settings.style, "No method logged the error of an estimated log Z")
    rows, across = panels.grid_shape(len(scales), MOST_COLUMNS)
    figure = style.new_figure(settings.style.width_in, 0.8 * settings.style.height_in * rows)
    grid: np.ndarray = figure.subplots(rows, across, sharey=True, squeeze=False)
    axes_of = dict(zip(scales, panels.use_first(grid, len(scales)), strict=True))
    looks = style.looks(settings.runs)
    for scale, axes in axes_of.items():
        for key, line in lines.items():
            if key[0] == scale:
                panels.draw_line(axes, line, looks[key[1:]], marker="o" if len(line) == 1 else None)
        if options.relative:
            axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=2))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    scale_logarithmically(next(iter(axes_of.values())))
    for axes in grid[:, 0]:
        axes.set_ylabel("log Z error / variance" if options.relative else "mean (log λ − log Z)²")
    figure.supxlabel("steps", fontsize="medium")
    figure_text.add_legend(figure, [run for run in settings.runs if run.row in lines])
    if len(scales) > 1:
        counts = figure_text.wrap_titles(figure, [(axes_of[scale], [title]) for scale, title in scales.items()])
        figure_text.grow(figure, (max(counts) - 1) * rows * figure_text.line_height())
    return figure
