"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: str) -> list[str]:
    """Columns side by side, two spaces between them; those named in `right` aligned to the right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    to_the_right = [head in right.split() for head in heads]
    return [
        "  ".join(
            cell.rjust(width) if flag else cell.ljust(width)
            for cell, width, flag in zip(line, widths, to_the_right, strict=True)
        ).rstrip()
        for line in lines
    ]
