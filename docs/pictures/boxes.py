"""Boxes, arrows and a white card under them, for the drawings of the README. Coordinates are inches."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

IMAGES = Path(__file__).resolve().parents[1] / "images"
INK = "#222222"
QUIET = "#666666"
BLUE, ORANGE, GREEN, GREY = "#DCE9F5", "#FBE3D2", "#DDF0E4", "#EFEFEF"
"""Fills, light enough for black text."""


class Drawing:
    """A drawing on a white card, which dark pages need; `width` and `height` in inches."""

    def __init__(self, width: float, height: float) -> None:
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 10, "mathtext.fontset": "dejavusans"})
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, x: float, y: float, width: float, height: float, text: str, fill: str = GREY, **options) -> None:
        """A rounded box with centered text; (x, y) is its lower left corner."""
        style = f"round,pad=0,rounding_size={options.pop('rounding', 0.08)}"
        edge = options.pop("edge", INK)
        line = options.pop("line", "solid")
        shape = FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=fill, edgecolor=edge, linestyle=line)
        self.axes.add_patch(shape)
        self.text(x + width / 2, y + height / 2, text, **options)

    def band(self, x: float, y: float, width: float, height: float, title: str, fill: str) -> None:
        """A colored ground behind boxes, with a title in its upper left corner."""
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=fill, edgecolor="none", zorder=0))
        self.text(x + 0.1, y + height - 0.09, title, ha="left", va="top", weight="bold")

    def text(self, x: float, y: float, text: str, **options) -> None:
        """Text, centered unless `ha` and `va` say otherwise."""
        self.axes.text(x, y, text, **{"ha": "center", "va": "center", "color": INK, "linespacing": 1.35, **options})

    def arrow(self, start: tuple[float, float], end: tuple[float, float], **options) -> None:
        """An arrow; `bend` curves it, `line` is a line style."""
        bend, line = options.pop("bend", 0.0), options.pop("line", "solid")
        shape = FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            connectionstyle=f"arc3,rad={bend}",
            color=options.pop("color", INK),
            linestyle=line,
            linewidth=1.3,
            shrinkA=0,
            shrinkB=0,
        )
        self.axes.add_patch(shape)

    def save(self, name: str) -> Path:
        """Write docs/images/{name}.png."""
        path = IMAGES / f"{name}.png"
        self.figure.set_dpi(200)
        # matplotlib's version in the file would change it with each upgrade
        FigureCanvasAgg(self.figure).print_png(path, metadata={"Software": None})
        return path
