"""Three views of a table: what was measured here, what a paper printed, and the difference of the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from amorlip.config.experiment import Heads
from amorlip.reporting.runs import ROW, RowKey
from amorlip.reporting.table_layout import MISSING, Block, Cell, Layout, Row, View

OURS, PUBLISHED, DIFFERENCE = "ours", "published", "difference"
"""Values of the csv file's column `view`; those of the last two are part of their labels in LaTeX."""


def split(layout: Layout, heads: Heads, published_notes: Sequence[str], decimals: int) -> Layout:
    """One view per kind of rows, of a layout with a single view in which published rows follow the measured ones.

    A layout without published rows stays as it is. The difference has the rows that both others have.
    """
    (together,) = layout.views
    published = _blocks(together.blocks, lambda row: row.kind == "published")
    if not published:
        return layout
    ours = _blocks(together.blocks, lambda row: row.kind != "published")
    views = [
        View(ours, together.notes, title=heads.ours),
        View(published, list(published_notes), PUBLISHED, heads.published),
    ]
    if differences := [block for block in (_differences(block, decimals) for block in together.blocks) if block.rows]:
        note = "In percentage points, from unrounded means over seeds and published numbers as they are printed."
        views.append(View(differences, [note], DIFFERENCE, heads.difference))
    return replace(layout, views=views)


def _blocks(blocks: Sequence[Block], wanted: Callable[[Row], bool]) -> list[Block]:
    kept = [replace(block, rows=[row for row in block.rows if wanted(row)]) for block in blocks]
    return [block for block in kept if block.rows]


def _differences(block: Block, decimals: int) -> Block:
    """Measured minus published, of the rows that have both."""
    printed = {row.key: row for row in block.rows if row.kind == "published"}
    rows = [
        replace(row, cells=[_minus(*pair, decimals) for pair in zip(row.cells, printed[row.key].cells, strict=True)])
        for row in block.rows
        if row.kind == "measured" and row.key in printed
    ]
    return replace(block, rows=rows)


def _minus(ours: Cell, published: Cell, decimals: int) -> Cell:
    value = ours.value - published.value
    return Cell(signed(value, decimals, MISSING), ours.spread if not math.isnan(value) else "", value=value)


def signed(value: float, decimals: int, missing: str) -> str:
    """With its sign; zero, or what is printed as zero, has none."""
    if math.isnan(value):
        return missing
    text = f"{value:+.{decimals}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def tidy(table: pd.DataFrame, published: Mapping[RowKey, Mapping[str, float]]) -> pd.DataFrame:
    """The csv file: the rows of `table`, then published ones, then the differences, told apart by the column `view`.

    Args:
        table: one row per scale and method, in percent.
        published: row → column → percent; columns that `table` lacks are left out.
    """
    keys = [tuple(row) for row in table[ROW].to_numpy().tolist()]
    columns = [column for column in table.columns if column not in [*ROW, "seeds"]]
    ours = table.assign(view=OURS)
    printed = pd.DataFrame(
        [[published.get(key, {}).get(column, math.nan) for column in columns] for key in keys], columns=columns
    )
    has_published = [key in published for key in keys]
    difference = ours.assign(view=DIFFERENCE)
    for column in columns:
        if not column.endswith("_std"):
            exact = pd.to_numeric(table[column]) - printed[column]
            difference[column] = exact.round(10) + 0.0  # no -0.0000
    parts = [ours, ours[ROW].join(printed).assign(view=PUBLISHED)[has_published], difference[has_published]]
    order = [*ROW, "view", *(column for column in table.columns if column not in ROW)]
    filled = [part.dropna(axis=1, how="all") for part in parts if len(part)]  # else pandas guesses types from nothing
    return pd.concat(filled, ignore_index=True).reindex(columns=order)
