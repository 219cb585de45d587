"""Draw docs/images/workflow.png: the rules of the workflow and what each makes. Edges are Snakemake's own.

It asks `snakemake --rulegraph` for the rules of the demo, so a changed rule changes the picture.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from boxes import BLUE, GREEN, GREY, ORANGE, QUIET, Drawing

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 1.72, 0.78
COLUMNS, ROWS = (0.2, 2.27, 4.34, 6.41), (2.85, 1.6, 0.35)
RULES = {
    "artwork": (0, 0, ORANGE, "emoji pictures (demo)"),
    "urls": (1, 0, ORANGE, "addresses, captions"),
    "download": (2, 0, BLUE, "images in tar files"),
    "shards": (3, 0, BLUE, "manifest and index"),
    "tasks": (0, 1, BLUE, "evaluation sets"),
    "evaluate": (2, 1, GREEN, "scores per run, task"),
    "train": (3, 1, GREEN, "weights, metrics"),
    "study_config": (0, 2, GREY, "config.yaml"),
    "report": (1, 2, GREY, "report.html"),
    "figure": (2, 2, GREY, "png, pdf"),
    "table": (3, 2, GREY, "csv, md, tex, html"),
}
"""Rule → column, row, fill, and what it makes."""
ROUTES = {
    ("tasks", "train"): ("top", "top", -0.13),
    ("shards", "table"): ("right", "right", -0.25),
    ("table", "report"): ("bottom", "bottom", -0.1),
    ("evaluate", "table"): ("bottom", "top", 0.0),
    ("train", "figure"): ("bottom", "top", 0.0),
}
"""Edges that a straight arrow between neighbors would not show: sides of the two boxes, and the bend."""


def rule_graph() -> set[tuple[str, str]]:
    """(rule, rule that needs it) of the demo, as Snakemake has them, without the two that need all others."""
    command = ["snakemake", "--rulegraph", "--configfile", "config/config.yaml"]
    graph = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    edges = {(names[start], names[end]) for start, end in re.findall(r"(\d+) -> (\d+)", graph)}
    return {edge for edge in edges if edge[1] not in ("all", "study_report")}


def corner(rule: str) -> tuple[float, float]:
    """The lower left corner of a rule's box."""
    column, row, *_ = RULES[rule]
    return COLUMNS[column], ROWS[row]


def side_of(rule: str, side: str) -> tuple[float, float]:
    """The middle of a side of a rule's box."""
    x, y = corner(rule)
    across, up = {"left": (0, 0.5), "right": (1, 0.5), "top": (0.5, 1), "bottom": (0.5, 0)}[side]
    return x + across * WIDTH, y + up * HEIGHT


def route(start: str, end: str) -> tuple[str, str, float]:
    """Sides of the two boxes that an arrow connects, and its bend."""
    if (start, end) in ROUTES:
        return ROUTES[start, end]
    (from_x, from_y), (to_x, to_y) = corner(start), corner(end)
    if from_y == to_y:
        return ("right", "left", 0.0) if to_x > from_x else ("left", "right", 0.0)
    return ("bottom", "top", 0.0) if to_y < from_y else ("top", "bottom", 0.0)


def main() -> None:
    """Draw it and print the file's name."""
    drawing = Drawing(8.6, 3.8)
    for rule, (_, _, fill, made) in RULES.items():
        x, y = corner(rule)
        drawing.box(x, y, WIDTH, HEIGHT, "", fill)
        drawing.text(x + WIDTH / 2, y + 0.52, rule, weight="bold", size=11)
        drawing.text(x + WIDTH / 2, y + 0.23, made, size=9.5)
    for start, end in sorted(rule_graph()):
        start_side, end_side, bend = route(start, end)
        drawing.arrow(side_of(start, start_side), side_of(end, end_side), bend=bend, color=QUIET)
    print(drawing.save("workflow"))


if __name__ == "__main__":
    main()
