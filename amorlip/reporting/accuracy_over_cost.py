"""Figure `accuracy_over_cost`: what a method reaches for the pairs it has seen and the hours it has trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.display import FigureSettings
from amorlip.config.experiment import AccuracyOverCost
from amorlip.reporting import cost, figure_text, panels, style
from amorlip.reporting.metric_names import metric_name
from amorlip.reporting.runs import KEYS, RowKey, scale_titles
from amorlip.reporting.training_metrics import over_seeds, read_training_metrics

COSTS = {"samples": "pairs seen", "device_hours": "hours × devices"}
"""Cost → name of its axis."""


def accuracy_over_cost(settings: FigureSettings, options: AccuracyOverCost) -> Figure:
    """One row of panels per scale, one panel per cost; points are epochs, means over seeds of score and cost."""
    epochs = read_training_metrics(settings.metrics, settings.runs).epochs
    task = _task(epochs, settings, options)
    if task is None:
        return figure_text.message(settings.style, "No task was evaluated after each epoch (epoch_tasks in the recipe)")
    metric = settings.benchmark.tasks[task].main_metric
    epochs = _with_hours(epochs[(epochs["task"] == task) & (epochs["metric"] == metric)], settings)
    scores, spent = over_seeds(epochs, "epoch", "value"), {name: over_seeds(epochs, "epoch", name) for name in COSTS}
    scales, looks = scale_titles(settings.runs), style.looks(settings.runs)
    figure = style.new_figure(settings.style.width_in, 0.8 * settings.style.height_in * len(scales))
    grid: np.ndarray = figure.subplots(len(scales), len(options.costs), sharey="row", squeeze=False)
    titles = []
    for row, (scale, title) in zip(grid, scales.items(), strict=True):
        for axes, name in zip(row, options.costs, strict=True):
            for key, line in _lines(scores, spent[name], scale).items():
                panels.draw_line(axes, line, looks[key[1:]], factor=100, marker="o" if len(line) <= 15 else None)
            axes.set_xlim(left=0)
            axes.set_xlabel(COSTS[name])
            axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
            if name == "samples":
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            titles.append((axes, [title] if axes is row[0] and len(scales) > 1 else [""]))
        quantity = f"{settings.benchmark.tasks[task].title}: {metric_name(metric)} [%]"
        row[0].set_ylabel(figure_text.wrap(figure, quantity, 0.7 * figure.bbox.height / len(scales)))
    figure_text.add_legend(figure, settings.runs)
    counts = figure_text.wrap_titles(figure, titles)
    figure_text.grow(figure, (max(counts) - 1) * len(scales) * figure_text.line_height())
    return figure


def _task(epochs: pd.DataFrame, settings: FigureSettings, options: AccuracyOverCost) -> str | None:
    known = [task for task in settings.benchmark.tasks if task in set(epochs["task"])]
    if options.task is not None and known and options.task not in known:
        raise AmorlipError(f"options.task: {unknown_key(options.task, known, 'task evaluated after each epoch')}")
    return (options.task or known[0]) if known else None


def _with_hours(epochs: pd.DataFrame, settings: FigureSettings) -> pd.DataFrame:
    """`epochs` with what each run had cost by then; hours are unknown without a run's provenance."""
    recorded = cost.read_records(settings.provenance, settings.runs)
    ranks = {key: record.ranks for key, record in recorded.items()}
    keys = list(epochs[KEYS].itertuples(index=False, name=None))
    return epochs.assign(device_hours=epochs["hours"] * [ranks.get(key, np.nan) for key in keys])


def _lines(
    scores: dict[RowKey, pd.DataFrame], spent: dict[RowKey, pd.DataFrame], scale: str
) -> dict[RowKey, pd.DataFrame]:
    """Row → its scores by the mean cost of the epoch."""
    return {
        key: line.reindex(spent[key].index).set_index(spent[key]["mean"])
        for key, line in scores.items()
        if key[0] == scale and key in spent
    }
