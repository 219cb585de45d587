"""Texts of a figure that fit it, however long they are: titles in lines, a legend in columns, by measured width."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from amorlip.config.display import RunLabel
from amorlip.config.selection import FigureStyle
from amorlip.reporting import style

SLACK = 0.97
"""Fraction of a width: text is measured at the screen's resolution and is up to 2% wider in the files, by hinting."""
LEGEND_COLUMNS = 4
"""At most."""


def line_height() -> float:
    """Height of a line of text [inches]."""
    return 1.2 * rcParams["font.size"] / 72


def wrap(figure: Figure, text: str, width: float, *, bold: bool = False, scale: float = 1.0) -> str:
    """`text` in lines of at most `width` [pixels of the figure], broken at spaces, or inside a word that is wider.

    `scale` is the text's size in units of the style's. Line breaks and repeated spaces in `text` count as one space.
    """
    renderer = _renderer(figure)
    font = FontProperties(size=scale * rcParams["font.size"], weight="bold" if bold else "normal")

    def fits(line: str) -> bool:
        return renderer.get_text_width_height_descent(line, font, False)[0] <= SLACK * width

    lines: list[str] = []
    for word in "".join(one for one in text if not _is_invisible(one)).split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
            continue
        while not fits(word) and (head := _head(word, fits)) != word:
            lines.append(head)
            word = word[len(head) :]
        lines.append(word)
    return "\n".join(lines)


def _is_invisible(character: str) -> bool:
    """A format character that neither joins letters nor turns their direction. matplotlib's pdf fails on U+FEFF."""
    return unicodedata.category(character) == "Cf" and not (
        character in "\u200c\u200d" or unicodedata.bidirectional(character) not in ("BN", "")
    )


def _head(word: str, fits) -> str:
    """The longest beginning that fits, at least one character, with the accents that belong to it."""
    end = 1
    while end < len(word) and (fits(word[: end + 1]) or unicodedata.combining(word[end])):
        end += 1
    return word[:end]


def _renderer(figure: Figure) -> RendererAgg:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return canvas.get_renderer()


def grow(figure: Figure, inches: float) -> None:
    """Make the figure higher, so that its panels keep their height."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)


def add_legend(figure: Figure, runs: Iterable[RunLabel]) -> Legend:
    """One entry per method or variant above all panels, in as many columns as fit; the figure grows with its lines."""
    looks = style.looks(runs := list(runs))
    titles = {run.row[1:]: run.title for run in runs}
    longest = figure.bbox.width - 5 * rcParams["legend.fontsize"] * figure.dpi / 72  # minus the line and the margins
    handles = [
        Line2D([], [], color=looks[key].color, linestyle=looks[key].linestyle, label=wrap(figure, title, longest))
        for key, title in titles.items()
    ]
    for columns in range(min(LEGEND_COLUMNS, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        box = legend.get_window_extent(_renderer(figure))
        if box.width <= SLACK * figure.bbox.width or columns == 1:
            break
        legend.remove()
    grow(figure, max(0.0, box.height / figure.dpi - 2 * line_height()))
    return legend


def wrap_titles(figure: Figure, titles: Sequence[tuple[Axes, Sequence[str]]]) -> list[int]:
    """Set each panel's title, a paragraph or several, in lines as wide as the panel; their numbers of lines.

    The panels must have their other texts already: these decide how wide a panel is.
    """
    figure.draw_without_rendering()
    counts = []
    for axes, paragraphs in titles:
        width = axes.get_window_extent().width
        text = "\n".join(wrap(figure, paragraph, width, bold=True) for paragraph in paragraphs)
        axes.set_title(text)
        counts.append(text.count("\n") + 1)
    return counts


def message(looks: FigureStyle, text: str) -> Figure:
    """In place of a figure that has nothing to show: an error here would cost the whole report."""
    figure = style.new_figure(looks.width_in, 0.3 * looks.height_in)
    text = wrap(figure, text, 0.95 * figure.bbox.width)
    grow(figure, text.count("\n") * line_height())
    figure.text(0.5, 0.5, text, ha="center", va="center", color=style.MUTED)
    return figure
