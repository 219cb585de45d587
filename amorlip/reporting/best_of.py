"""One row of a table for several methods: the best of them at each scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from amorlip.config.benchmark import Benchmark
from amorlip.config.display import RunLabel
from amorlip.config.experiment import BestOf
from amorlip.reporting.evaluations import Summary, column_title
from amorlip.reporting.runs import RowKey, by_row


@dataclass(frozen=True)
class Chosen:
    """The runs that a table shows, after each `best_of` has chosen one method per scale."""

    runs: list[RunLabel]
    """Without the methods that were not chosen; the chosen ones have the title of their `best_of`."""
    first: dict[RowKey, RowKey]
    """Row of a chosen method → row of the first method that its `best_of` lists, which published numbers name."""
    notes: list[str]
    """Which method was chosen, and by which means."""


def choose(
    runs: Sequence[RunLabel], summary: Summary, wanted: Sequence[BestOf], benchmark: Benchmark, last_column: str
) -> Chosen:
    """Keep the best method of each `best_of` at each scale, by the mean over seeds as in `summary`.

    All its methods stay, under their own titles, where the study has fewer than two of them, or where one of them has
    no value in the deciding column (a task is missing).
    """
    rows = by_row(runs)
    titles = {key: group[0].title for key, group in rows.items()}
    dropped: set[RowKey] = set()
    first: dict[RowKey, RowKey] = {}
    notes = []
    for best in wanted:
        column = best.column or last_column
        means = summary.mean[column].to_dict()
        for scale in dict.fromkeys(key[0] for key in rows):
            keys = [key for method in best.methods if (key := (scale, method, "")) in rows]
            values = {key: means[key] for key in keys}
            if len(keys) < 2 or any(math.isnan(value) for value in values.values()):
                continue
            winner = max(keys, key=values.__getitem__)
            compared = ", ".join(f"{titles[key]}: {100 * value:.2f}" for key, value in values.items())
            notes.append(
                f"{best.title}, {rows[winner][0].scale_title}: {titles[winner]}, the best in "
                f"{column_title(benchmark, column)} ({compared}). The csv file has all of these methods."
            )
            first[winner] = (scale, best.methods[0], "")
            titles[winner] = best.title
            dropped |= {key for key in keys if key != winner}
    shown = [run.model_copy(update={"title": titles[run.row]}) for run in runs if run.row not in dropped]
    return Chosen(shown, first, notes)
