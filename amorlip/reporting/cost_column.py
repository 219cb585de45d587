"""The last column of a table of results: what training costs over the baseline's."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from amorlip.config.display import TableSettings
from amorlip.reporting import cost
from amorlip.reporting.cost import Cost
from amorlip.reporting.published import read_published
from amorlip.reporting.runs import ROW, RowKey
from amorlip.reporting.table_layout import MISSING, Cell, Layout, Row

DECIMALS = 2


def add(
    table: pd.DataFrame, layout: Layout, settings: TableSettings, quantity: cost.Quantity
) -> tuple[pd.DataFrame, Layout]:
    """The csv file's frame with two more columns, the cost and what it is over the baseline's; the layout with one."""
    baseline = settings.experiment.baseline
    spent = cost.costs(settings.provenance, settings.runs, baseline, quantity)
    keys = [tuple(row) for row in table[ROW].to_numpy().tolist()]
    known = [spent.get(key) for key in keys]
    table = table.assign(
        **{
            cost.FIELDS[quantity]: [math.nan if one is None else one.value for one in known],
            cost.column(quantity): [math.nan if one is None else one.over_baseline for one in known],
        }
    )
    notes = [*layout.notes, *cost.notes(spent, settings.runs, baseline, quantity)]
    return table, replace(_with_column(layout, settings, quantity, spent), notes=notes)


def _with_column(layout: Layout, settings: TableSettings, quantity: cost.Quantity, spent: dict[RowKey, Cost]) -> Layout:
    column = cost.column(quantity)
    printed = {} if settings.published is None else read_published(settings.published, [column])

    def text(row: Row) -> str:
        if row.key is None:
            return ""
        if row.kind == "measured":
            return cost.text(spent[row.key], DECIMALS, MISSING)
        value = printed.get(row.key, {}).get(column)
        return MISSING if value is None else f"{100 * value:.{DECIMALS}f}"

    blocks = [
        replace(block, rows=[replace(row, cells=[*row.cells, Cell(text(row))]) for row in block.rows])
        for block in layout.blocks
    ]
    return replace(
        layout,
        groups=[*layout.groups, ("Training", 1)],
        columns=[*layout.columns, cost.TITLES[quantity]],
        metrics=[*layout.metrics, "% more"],
        blocks=blocks,
    )
