"""The last columns of a table of results: is a row's difference from the baseline larger than seeds differ?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from amorlip.config.display import TableSettings
from amorlip.config.experiment import Heads
from amorlip.reporting import significance, views
from amorlip.reporting.evaluations import column_title
from amorlip.reporting.runs import ROW, RowKey, by_row
from amorlip.reporting.table_layout import MISSING, Cell, Layout, Row, View

FIELDS = ["difference", "difference_low", "difference_high", "p", "p_holm"]
"""Columns of the csv file."""
DECIMALS = 2


def add(
    table: pd.DataFrame, layout: Layout, settings: TableSettings, measured: pd.DataFrame, column: str, heads: Heads
) -> tuple[pd.DataFrame, Layout]:
    """The csv file's frame and the layout with the mean difference in `column` from the baseline, and its p-values.

    Runs of the same seed are pairs: they have the same initial weights and the same batches. Interval and p are those
    of Student's test on these pairs; p is corrected by Holm over the rows of a scale. Nothing is added where no row has
    two pairs.

    Args:
        table: one row per scale and method.
        layout: of the same rows, with a single view.
        measured: what `scores` returns.
        column: the task or average that is tested.
    """
    percent = 100 * measured[column].sort_index()
    found = {key: _compare(percent, key, settings.experiment.baseline) for key in by_row(settings.runs)}
    tested = pd.DataFrame.from_dict(found, orient="index", columns=["pairs", *FIELDS[:-1]])
    tested.index = pd.MultiIndex.from_tuples(tested.index, names=ROW)
    if not (tested["pairs"] > 1).any():
        return table, layout
    tested["p_holm"] = math.nan
    for _, group in tested[tested["p"].notna()].groupby(level="scale"):
        tested.loc[group.index, "p_holm"] = significance.holm(group["p"].tolist())
    table = table.merge(tested[FIELDS].reset_index(), on=ROW, how="left")
    return table, _with_columns(layout, settings, tested, column, heads)


def _compare(percent: pd.Series, row: RowKey, baseline: str) -> list[float]:
    """Pairs, mean difference, its 95% interval, and p."""
    rows = percent.index.droplevel("seed")
    if row == (row[0], baseline, "") or not {row, (row[0], baseline, "")} <= set(rows):
        return [0, *[math.nan] * 4]
    pairs = (percent.loc[row] - percent.loc[row[0], baseline, ""]).dropna().to_numpy()
    mean = float(np.mean(pairs)) if len(pairs) else math.nan
    return [len(pairs), mean, *significance.paired_t(pairs)]


def _with_columns(layout: Layout, settings: TableSettings, tested: pd.DataFrame, column: str, heads: Heads) -> Layout:
    baseline = settings.experiment.baseline
    titles = {key[1:]: group[0].title for key, group in by_row(settings.runs).items()}
    followed = titles.get((baseline, ""), baseline)

    numbers = dict(zip(tested.index, tested[FIELDS].to_numpy(dtype=float).tolist(), strict=True))

    def cells(row: Row) -> list[Cell]:
        if row.kind != "measured" or row.key not in numbers or row.key[1:] == (baseline, ""):
            return [Cell(), Cell(), Cell()]
        difference, low, high, p, corrected = numbers[row.key]
        spread = "" if math.isnan(high) else f"{(high - low) / 2:.{DECIMALS}f}"
        mean = Cell(views.signed(difference, DECIMALS, MISSING), spread, value=difference)
        return [mean, _p(p), _p(corrected)]

    (view,) = layout.views
    blocks = [
        replace(block, rows=[replace(row, cells=[*row.cells, *cells(row)]) for row in block.rows])
        for block in view.blocks
    ]
    return replace(
        layout,
        groups=[*layout.groups, (f"{heads.seed_tests} {followed}", 3)],
        columns=[*layout.columns, column_title(settings.benchmark, column), "p", "p, corrected"],
        metrics=[*layout.metrics, "points", "Student", "Holm"],
        views=[View(blocks, [*view.notes, *_notes(tested, followed)])],
    )


def _p(value: float) -> Cell:
    text = MISSING if math.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.2g}"
    return Cell(text, value=value)


def _notes(tested: pd.DataFrame, followed: str) -> list[str]:
    counts = sorted({int(count) for count in tested["pairs"] if count > 1})
    pairs = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return [
        f"Difference from {followed}: runs of the same seed are pairs ({pairs} of them), as they start from the same "
        "weights and see the same batches. Mean ± half of its 95% interval, and p, are those of Student's test on "
        "these pairs; p is corrected by Holm over the rows of a scale."
    ]
