"""The style that all figures share: colors of methods, fonts, and files that are byte-identical if nothing changed.

Everything is drawn on `matplotlib.figure.Figure` without pyplot, so no global state is left behind.
"""

from __future__ import annotations

import unicodedata
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from amorlip.common import files
from amorlip.config.display import RunLabel
from amorlip.config.selection import FigureStyle

FONT = "DejaVu Sans"
"""Comes with matplotlib, so it is the same everywhere."""
COLORS = {
    "clip": "#555555",
    "amorlip_l2log": "#D55E00",
    "amorlip_fdiv": "#E69F00",
    "fastclip": "#0072B2",
    "sogclr": "#009E73",
    "siglip": "#56B4E9",
    "neuclip": "#CC79A7",
}
"""Method → its color in every figure: Okabe and Ito's palette, which color-blind readers can tell apart."""
SPARE = ("#332288", "#882255", "#999933", "#117733", "#AA4499", "#44AA99", "#661100", "#6699CC")
"""For other methods and for variants: Paul Tol's muted palette."""
Dash = Literal["-", "--", "-.", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":")
"""Line styles: the first for everyone, the others when the spare colors are used up."""
MUTED = "#888888"
"""Reference lines, such as chance."""


class Look(NamedTuple):
    """How a method's or variant's lines are drawn."""

    color: str
    linestyle: Dash = "-"


def looks(runs: Iterable[RunLabel]) -> dict[tuple[str, str], Look]:
    """(method, variant or "") → look.

    A method that `COLORS` does not know, or a variant, gets a spare color by a hash of its name, so that its color
    rarely depends on which others are shown. When the colors are used up, dashes tell lines apart.
    """
    chosen: dict[tuple[str, str], Look] = {}
    for method, variant in sorted({run.row[1:] for run in runs}):
        if not variant and method in COLORS:
            chosen[method, variant] = Look(COLORS[method])
            continue
        start = zlib.crc32(f"{method}-{variant}".encode()) % len(SPARE)
        order = [Look(color, dash) for dash in DASHES for color in (*SPARE[start:], *SPARE[:start])]
        chosen[method, variant] = next((look for look in order if look not in chosen.values()), order[0])
    return chosen


@contextmanager
def context(style: FigureStyle) -> Iterator[None]:
    """Matplotlib's settings for a figure and its files; the caller's own are restored afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # one warning per character and measurement; `save` names them all in one line
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": FONT,
                "font.size": style.font_size,
                # a title may hold dollar signs; with mathematics on, "$5 to $9" loses them and a single "$_" raises
                "text.parse_math": False,
                "axes.titlesize": style.font_size,
                "axes.titlelocation": "left",
                "axes.titleweight": "bold",
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.linewidth": 0.8,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": "#E4E4E4",
                "grid.linewidth": 0.6,
                "xtick.labelsize": style.font_size - 1,
                "ytick.labelsize": style.font_size - 1,
                "legend.fontsize": style.font_size,
                "legend.frameon": False,
                "lines.linewidth": 1.5,
                "pdf.fonttype": 42,  # embedded as TrueType: text stays text
            }
        )
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure [inches] that lays out its own axes. Inside `context` only."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07))
    FigureCanvasAgg(figure)
    return figure


def add_watermark(figure: Figure, word: str) -> None:
    """Pale text across the whole figure, about as wide as three quarters of it."""
    size = min(60.0, 75 * figure.get_figwidth() / len(word))
    figure.text(
        0.5, 0.5, word, fontsize=size, color="#B00020", alpha=0.16, rotation=25, weight="bold",
        ha="center", va="center", zorder=100,
    ).set_in_layout(False)  # fmt: skip


def save(figure: Figure, outputs: Mapping[str, Path], dpi: int) -> None:
    """Write `png` and `pdf` without dates or versions: equal figures are equal files. Inside `context` only.

    Characters that the font lacks are named in one printed line; the files show boxes for them.
    """
    if characters := _without_glyph(figure):
        names = ", ".join(f"{one} (U+{ord(one):04X})" for one in characters)
        print(f"{next(iter(outputs.values()))}: the font {FONT} lacks {names}; the figure shows boxes instead")
    # Laid out once: each file would do it again.
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    metadata = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for form, path in outputs.items():
        with files.atomic_path(path) as temporary:
            figure.savefig(temporary, format=form, dpi=dpi, metadata=metadata[form])


def _without_glyph(figure: Figure) -> list[str]:
    """Characters of the figure's texts that its font cannot draw, sorted."""
    texts = {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    known = get_font(fontManager.findfont(FontProperties(family=FONT))).get_charmap()
    return sorted(one for one in set("".join(texts)) if ord(one) not in known and unicodedata.category(one) != "Cc")
