"""What several figures draw: a grid of panels, and lines with the spread over seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from amorlip.reporting.style import Look


def use_first(panels: np.ndarray, count: int) -> list[Axes]:
    """The first `count` of a grid of panels that share their x axes.

    The others are removed, and the panels above them get the tick labels of the shared axis.
    """
    columns = panels.shape[1]
    for index, axes in enumerate(panels.flat):
        if index >= count:
            axes.remove()
        elif index + columns >= count:
            axes.xaxis.set_tick_params(labelbottom=True)
    return list(panels.flat)[:count]


def grid_shape(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a grid for `count` panels with at most `columns` next to each other."""
    columns = min(columns, count)
    return math.ceil(count / columns), columns


def draw_line(
    axes: Axes,
    line: pd.DataFrame,
    look: Look,
    *,
    band: str = "range",
    factor: float = 1.0,
    linewidth: float | None = None,
    marker: str | None = None,
) -> None:
    """Mean over seeds, with its spread where there are several seeds.

    Args:
        axes: where to draw.
        line: index x; columns mean, min, max, std and count, as `over_seeds` returns them.
        look: color and dashes.
        band: `range` (smallest to largest value) or `std` (± one standard deviation).
        factor: multiplies all values.
        linewidth: in points; None: the style's.
        marker: matplotlib's name of a mark at each point.
    """
    line = line.sort_index()
    axes.plot(
        line.index, line["mean"] * factor, color=look.color, linestyle=look.linestyle, linewidth=linewidth,
        marker=marker, markersize=3.5,
    )  # fmt: skip
    several = line[line["count"] > 1]
    if len(several):
        low = several["min"] if band == "range" else several["mean"] - several["std"]
        high = several["max"] if band == "range" else several["mean"] + several["std"]
        axes.fill_between(several.index, low * factor, high * factor, color=look.color, alpha=0.2, linewidth=0)
