"""Figure `training_curves`: InfoNCE, logit scale and the error of log λ over steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import TrainingCurves
from amorlip.reporting import figure_text, panels, style
from amorlip.reporting.runs import scale_titles
from amorlip.reporting.training_metrics import over_seeds, read_training_metrics

UNEXPLAINED = "log_z_unexplained"
CURVES = {"infonce": "InfoNCE [nats]", "logit_scale": "logit scale", UNEXPLAINED: "log Z error / variance"}
"""Logged quantities → names on axes."""


def training_curves(settings: FigureSettings, options: TrainingCurves) -> Figure:
    """Over steps, one row per scale, all methods in each panel: InfoNCE, logit scale, error of log λ where logged.

    InfoNCE is the same quantity for every method, whatever it minimizes, so values are comparable; their losses are
    not (AmorLIP's is divided by τ and contains ρ/τ, SigLIP's counts pairs). The error is mean (log λ - log Z)² over the
    variance of log Z, the mean of both modalities; a line marks 1, the error of the best constant.
    """
    runs = settings.runs
    steps = read_training_metrics(settings.metrics, runs).steps
    if UNEXPLAINED in steps:  # an exact log Z has no place on a logarithmic axis
        steps = steps.assign(**{UNEXPLAINED: pd.to_numeric(steps[UNEXPLAINED]).where(lambda error: error > 0)})
    quantities = {name: over_seeds(steps, "step", name) for name in CURVES}
    shown = [name for name in CURVES if quantities[name]]
    if not shown:
        return figure_text.message(settings.style, "No step was logged (log_every_steps in the recipe)")
    scales, looks = scale_titles(runs), style.looks(runs)
    figure = style.new_figure(settings.style.width_in, 0.7 * settings.style.height_in * len(scales))
    grid: np.ndarray = figure.subplots(len(scales), len(shown), squeeze=False)
    for row, scale in zip(grid, scales, strict=True):
        for axes, name in zip(row, shown, strict=True):
            lines = {key: line for key, line in quantities[name].items() if key[0] == scale}
            for key, line in lines.items():
                panels.draw_line(axes, line, looks[key[1:]], linewidth=1, marker="o" if len(line) == 1 else None)
            _label_axes(axes, name, logarithmic=name == UNEXPLAINED and bool(lines))
    figure_text.add_legend(figure, runs)
    if len(scales) > 1:
        _title_rows(figure, [row[0] for row in grid], list(scales.values()))
    return figure


def _title_rows(figure: Figure, first_panels: list[Axes], titles: list[str]) -> None:
    """Each row's title over its first panel and those next to it, which have none."""
    figure.draw_without_rendering()
    for axes, title in zip(first_panels, titles, strict=True):
        wrapped = figure_text.wrap(figure, title, figure.bbox.x1 - axes.get_window_extent().x0, bold=True)
        axes.set_title(wrapped)
        figure_text.grow(figure, wrapped.count("\n") * figure_text.line_height())


def _label_axes(axes: Axes, name: str, *, logarithmic: bool) -> None:
    axes.set_ylabel(CURVES[name])
    axes.set_xlabel("steps")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if logarithmic:
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        scale_logarithmically(axes)


def scale_logarithmically(axes: Axes) -> None:
    """A logarithmic y axis with a few plain numbers, where the values differ by more than a factor of ten."""
    smallest, largest = axes.dataLim.intervaly
    if largest < 10 * smallest:
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e3 else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
