"""Figure `critical_difference`: mean ranks over the tasks, and which methods these cannot tell apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amorlip.config.display import FigureSettings
from amorlip.config.experiment import CriticalDifference
from amorlip.reporting import figure_text, significance, style
from amorlip.reporting.evaluations import read_evaluations, scores, summarize
from amorlip.reporting.runs import RowKey, by_row, scale_titles

FEWEST_TASKS = 6
"""With fewer, Wilcoxon's test cannot fall below a level of 0.05."""
LABEL_WIDTH = 0.4
"""Of the figure: at most, for the methods' titles."""
Scores = dict[RowKey, np.ndarray]
"""Row → score on each task."""


def critical_difference(settings: FigureSettings, options: CriticalDifference) -> Figure:
    """One panel per scale, best method on top; a bar joins methods whose pairs all fail to differ.

    Ranks are over tasks, of means over seeds. Pairs are compared by Wilcoxon's signed-rank test over the tasks, with
    Holm's correction over the pairs of a scale.
    """
    found = {scale: rows for scale in scale_titles(settings.runs) if len(rows := _scores(settings, scale)) > 1}
    found = {scale: rows for scale, rows in found.items() if len(next(iter(rows.values()))) >= FEWEST_TASKS}
    if not found:
        return figure_text.message(settings.style, f"Fewer than two methods with {FEWEST_TASKS} tasks in common")
    lines = [len(rows) for rows in found.values()]
    heights = [0.9 + 0.32 * count for count in lines]
    figure = style.new_figure(settings.style.width_in, sum(heights))
    grid: np.ndarray = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)
    titles = []
    for axes, (scale, rows) in zip(grid[:, 0], found.items(), strict=True):
        _draw(axes, rows, settings, figure)
        titles.append((axes, [scale_titles(settings.runs)[scale], _said(rows)]))
    counts = figure_text.wrap_titles(figure, titles)
    figure_text.grow(figure, (sum(counts) - 1) * figure_text.line_height())
    return figure


def _scores(settings: FigureSettings, scale: str) -> Scores:
    """On the tasks that all methods of the scale have."""
    values = read_evaluations(settings.evaluations, settings.runs, settings.benchmark)
    means = summarize(scores(values, settings.runs, settings.benchmark)).mean[list(settings.benchmark.tasks)]
    measured = set(means.dropna(how="all").index)
    keys = [key for key in by_row(settings.runs) if key[0] == scale and key in measured]
    shown = means.loc[keys].dropna(axis=1)
    return dict(zip(keys, shown.to_numpy(), strict=True))


def _said(rows: Scores) -> str:
    table = np.array(list(rows.values())).T
    chance = significance.friedman(table)
    tested = "" if chance is None else f", Friedman's test: p = {chance:.2g}"
    return f"{len(table)} tasks{tested}"


def _draw(axes: Axes, rows: Scores, settings: FigureSettings, figure: Figure) -> None:
    ranks = significance.mean_ranks(np.array(list(rows.values())).T)
    order = sorted(zip(rows, ranks, strict=True), key=lambda item: item[1])
    looks, titles = style.looks(settings.runs), {key: group[0].title for key, group in by_row(settings.runs).items()}
    for place, (key, rank) in enumerate(order):
        axes.plot([1, rank], [place, place], color=looks[key[1:]].color, linewidth=1, alpha=0.5)
        axes.plot(rank, place, "o", color=looks[key[1:]].color)
        axes.annotate(f"{rank:.2f}", (rank, place), xytext=(6, 0), textcoords="offset points", va="center")
    right = len(order) + 0.3
    for number, (first, last) in enumerate(cliques([rows[key] for key, _ in order])):
        x = right + 0.12 * len(order) * (number + 1) / 2
        axes.plot([x, x], [first - 0.2, last + 0.2], color="black", linewidth=3, solid_capstyle="butt")
    width = LABEL_WIDTH * figure.bbox.width
    names = [figure_text.wrap(figure, titles[key], width) for key, _ in order]
    axes.set_yticks(range(len(order)), names)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(left=0.9)
    axes.set_xticks(range(1, len(order) + 1))
    axes.set_xlabel("mean rank over tasks (1 is best)")
    axes.grid(axis="y", visible=False)
    figure_text.grow(figure, sum(name.count("\n") for name in names) * figure_text.line_height())


def cliques(ordered: list[np.ndarray]) -> list[tuple[int, int]]:
    """First and last place of each longest run of methods of which no two differ significantly."""
    pairs = list(combinations(range(len(ordered)), 2))
    chances = significance.holm([significance.signed_rank(ordered[one], ordered[other]) for one, other in pairs])
    differ = {pair for pair, chance in zip(pairs, chances, strict=True) if chance < significance.LEVEL}
    alike = [
        (first, last)
        for first, last in pairs
        if not any(pair in differ for pair in combinations(range(first, last + 1), 2))
    ]
    return [(a, b) for a, b in alike if not any((c <= a and b <= d) and (a, b) != (c, d) for c, d in alike)]
