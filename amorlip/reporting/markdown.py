"""A table in GitHub's Markdown, which shows every title as it was written."""

from __future__ import annotations

import re

from amorlip.reporting.table_layout import Cell, Layout, View

_SPECIAL = re.compile(r"[\\`*\[\]<>&|~$#{}!]|(?<![^\W_])_|_(?![^\W_])")
"""Punctuation that means something to Markdown, HTML or GitHub's mathematics; not the underscore inside a word."""
_AT_LINE_START = re.compile(r"^([-+=])|^(\d+)([.)])")
"""What would begin a list or a heading."""


def markdown(layout: Layout) -> str:
    """A pipe table, as Markdown viewers with tables show it. `<ins>` is the underline that GitHub lets through."""
    return "\n".join(_view(layout, view) for view in layout.views)


def _view(layout: Layout, view: View) -> str:
    first_columns = {first - 1: group for (first, _), (group, _) in zip(layout.spans, layout.groups, strict=True)}
    headings = [
        f"{escape(first_columns.get(index, ''))}<br>{escape(column)}<br>*{escape(metric)}*"
        for index, (column, metric) in enumerate(zip(layout.columns, layout.metrics, strict=True))
    ]
    lines = [
        f"**{escape(layout.title_of(view))}**",
        "",
        _line([*map(escape, layout.heads), *headings]),
        _line([":--", ":--", *["--:"] * len(layout.columns)]),
    ]
    for block in view.blocks:
        for index, row in enumerate(block.rows):
            title = escape(row.title) if row.kind == "measured" else f"*{escape(row.title)}*"
            lines.append(_line([escape(block.title) if index == 0 else "", title, *map(_cell, row.cells)]))
    return "\n".join([*lines, "", *(f"- {escape(note)}" for note in view.notes)]) + "\n"


def escape(text: str) -> str:
    """`text` on one line, so that Markdown shows it as it is."""
    line = " ".join(text.split())
    return _AT_LINE_START.sub(r"\\\1\2\3" if line[:1] in "-+=" else r"\2\\\3", _SPECIAL.sub(r"\\\g<0>", line))


def _cell(cell: Cell) -> str:
    mean = {1: f"**{cell.text}**", 2: f"<ins>{cell.text}</ins>"}.get(cell.rank, cell.text)
    return f"{mean} ± {cell.spread}" if cell.spread else mean


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
