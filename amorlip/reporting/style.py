"""Looks that all figures share: colors of methods, fonts, and files that are equal byte by byte when nothing changed.

Everything is drawn on `matplotlib.figure.Figure` without pyplot, so no global state is left behind.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from amorlip.common import files
from amorlip.config.study import FigureStyle
from amorlip.reporting.collect import RunLabel

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
MUTED = "#888888"
"""Lines of reference, such as chance."""


def colors(runs: Iterable[RunLabel]) -> dict[tuple[str, str], str]:
    """(method, variant or "") → color.

    A method that `COLORS` does not know, or a variant, gets a spare color by a hash of its name, so that it rarely
    depends on which others are shown; beyond `SPARE` colors repeat.
    """
    chosen: dict[tuple[str, str], str] = {}
    for method, variant in sorted({run.row[1:] for run in runs}):
        if not variant and method in COLORS:
            chosen[method, variant] = COLORS[method]
            continue
        start = zlib.crc32(f"{method}-{variant}".encode())
        order = [SPARE[(start + step) % len(SPARE)] for step in range(len(SPARE))]
        chosen[method, variant] = next((color for color in order if color not in chosen.values()), order[0])
    return chosen


@contextmanager
def context(style: FigureStyle) -> Iterator[None]:
    """Matplotlib's settings for a figure and its files; the caller's own are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
                "font.size": style.font_size,
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


def figure(width: float, height: float) -> Figure:
    """An empty figure [inches] that lays out its own axes. Inside `context` only."""
    new = Figure(figsize=(width, height), layout="constrained")
    new.get_layout_engine().set(w_pad=0.07, h_pad=0.07)
    FigureCanvasAgg(new)
    return new


def save(drawn: Figure, outputs: Mapping[str, Path], dpi: int) -> None:
    """Write `png` and `pdf` without dates or versions: equal figures are equal files. Inside `context` only."""
    metadata = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for form, unwanted in metadata.items():
        with files.atomic_path(outputs[form]) as temporary:
            drawn.savefig(temporary, format=form, dpi=dpi, metadata=unwanted)
