"""The last column of a table of results: what training costs over the baseline's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from amorlip.config.display import TableSettings
from amorlip.config.experiment import Comparison, Heads
from amorlip.reporting import cost
from amorlip.reporting.cost import Cost
from amorlip.reporting.published import read_published
from amorlip.reporting.runs import ROW, RowKey
from amorlip.reporting.table_layout import MISSING, Cell, Layout, Row, View

DECIMALS = 2


def add(
    table: pd.DataFrame, layout: Layout, settings: TableSettings, quantity: cost.Quantity, options: Comparison
) -> tuple[pd.DataFrame, Layout]:
    """The csv file's frame with two more columns, the cost and what it is over the baseline's; the layout with one."""
    baseline = settings.experiment.baseline
    if options.cost_file is None:
        spent = cost.costs(settings.provenance, settings.runs, baseline, quantity)
    else:
        spent = cost.benchmarked(Path(options.cost_file), settings.runs, quantity)
    keys = [tuple(row) for row in table[ROW].to_numpy().tolist()]
    known = [spent.get(key) for key in keys]
    table = table.assign(
        **{
            cost.FIELDS[quantity]: [math.nan if one is None else one.value for one in known],
            cost.column(quantity): [math.nan if one is None else one.over_baseline for one in known],
        }
    )
    notes = cost.notes(spent, settings.runs, baseline, quantity)
    if options.cost_file is not None:
        notes.append(f"{cost.TITLES[quantity]} was measured by `amorlip bench paper-table2`: {options.cost_file}.")
    return table, _with_column(layout, settings, quantity, spent, options.heads, notes)


def _with_column(
    layout: Layout, settings: TableSettings, quantity: cost.Quantity, spent: dict[RowKey, Cost], heads: Heads,
    notes: list[str],
) -> Layout:  # fmt: skip
    column = cost.column(quantity)
    printed = {} if settings.published is None else read_published(settings.published, [column])

    def cell(row: Row) -> Cell:
        if row.key is None:
            return Cell()
        if row.kind == "measured":
            return Cell(cost.text(spent[row.key], DECIMALS, MISSING), value=spent[row.key].over_baseline)
        value = 100 * printed.get(row.key, {}).get(column, math.nan)
        return Cell(MISSING if math.isnan(value) else f"{value:.{DECIMALS}f}", value=value)

    (view,) = layout.views
    blocks = [
        replace(block, rows=[replace(row, cells=[*row.cells, cell(row)]) for row in block.rows])
        for block in view.blocks
    ]
    return replace(
        layout,
        groups=[*layout.groups, (heads.cost_group, 1)],
        columns=[*layout.columns, heads.cost or cost.TITLES[quantity]],
        metrics=[*layout.metrics, "% more"],
        views=[View(blocks, [*view.notes, *notes])],
    )
