"""Table `comparison`: methods by scale on the benchmark's columns."""

from __future__ import annotations

import math

import pandas as pd

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.display import RunLabel, TableSettings
from amorlip.config.experiment import Comparison
from amorlip.config.selection import EXTERNAL
from amorlip.reporting import best_of, cost, cost_column, notes, seed_tests, views
from amorlip.reporting.evaluations import (
    Summary,
    chance,
    column_title,
    missing_tasks,
    read_evaluations,
    scores,
    summarize,
)
from amorlip.reporting.metric_names import short_name
from amorlip.reporting.published import LaterWork, read_later_work, read_published
from amorlip.reporting.runs import ROW, RowKey, by_row, scale_titles
from amorlip.reporting.table_layout import MISSING, Block, Cell, Layout, Row, View

DECIMALS = 2
"""Of a percentage. Best and second best are decided on what is printed, so ties share a mark."""


def comparison(name: str, settings: TableSettings, options: Comparison) -> tuple[pd.DataFrame, Layout]:
    """Scales × methods, mean over seeds, in percent; best and second best of each scale marked; chance on top.

    With published numbers, there are three views: ours, theirs, and the difference.
    """
    benchmark, runs = settings.benchmark, settings.runs
    measured = scores(read_evaluations(settings.evaluations, runs, benchmark), runs, benchmark)
    summary = summarize(measured)
    guessing = {column: 100 * value for column, value in chance(benchmark).items()}
    groups = _groups(benchmark, options.columns)
    columns = [column for _, members in groups for column in members]
    chosen = best_of.choose(runs, summary, options.best_of, benchmark, columns[-1])
    published = _published(settings, options, chosen, list(summary.mean.columns))
    blocks = [Block("", [Row("Chance", [Cell(_percent(guessing[column], "")) for column in columns], "chance")])]
    later = {} if settings.later_work is None else read_later_work(settings.later_work, columns)
    for scale, title in scale_titles(runs).items():
        blocks.append(Block(title, _scale_rows(scale, chosen.runs, summary, published, columns)))
        if scale in later:
            blocks.append(_later_block(title, later[scale], columns))
    layout = Layout(
        name=name,
        title=settings.experiment.title,
        groups=[(title, len(members)) for title, members in groups],
        columns=[column_title(benchmark, column) for column in columns],
        metrics=[_metric(benchmark, column) for column in columns],
        views=[View(blocks, [
            *notes.on_values(benchmark, chosen.runs, summary, columns),
            *notes.on_missing_runs(name, settings, summary),
            *chosen.notes,
            *notes.on_missing_tasks(benchmark, missing_tasks(settings.evaluations, benchmark)),
            *(notes.on_corpus(path, settings.corpora) for path in settings.manifests),
            *options.notes,
        ])],
        heads=(options.heads.scale, options.heads.method),
    )  # fmt: skip
    table = _tidy(measured, summary, guessing)
    if options.seed_tests:
        table, layout = seed_tests.add(table, layout, settings, measured, columns[-1], options.heads)
    if options.cost is not None:
        table, layout = cost_column.add(table, layout, settings, options.cost, options)
    on_published = [
        *notes.on_published_rows(blocks),
        *(notes.on_later_work(later[scale]) for scale in scale_titles(runs) if scale in later),
    ]
    percent = {key: {column: 100 * value for column, value in row.items()} for key, row in published.items()}
    return views.tidy(table, percent), views.split(layout, options.heads, on_published, DECIMALS)


def _groups(benchmark: Benchmark, wanted: list[str] | None) -> list[tuple[str, list[str]]]:
    """Heading and column keys of each group, only the wanted columns; without groups, all tasks and averages."""
    groups = [(group.title, group.columns) for group in benchmark.columns]
    if not groups:
        groups = [("Tasks", list(benchmark.tasks)), ("Averages", list(benchmark.averages))]
    if wanted is not None:
        known = [*benchmark.tasks, *benchmark.averages]
        for column in wanted:
            if column not in known:
                raise AmorlipError(f"options.columns: {unknown_key(column, known, 'column')}")
        grouped = {column for _, columns in groups for column in columns}
        groups = [(title, [column for column in columns if column in wanted]) for title, columns in groups]
        groups.append(("Other", [column for column in wanted if column not in grouped]))
    return [(title, columns) for title, columns in groups if columns]


def _metric(benchmark: Benchmark, column: str) -> str:
    task = benchmark.tasks.get(column)
    return "mean" if task is None else short_name(task.main_metric)


def ranks(percent: pd.DataFrame) -> pd.DataFrame:
    """1 for the best and 2 for the second best of each column, else 0.

    Args:
        percent: one row per method, values as printed; NaN is ignored.

    Returns:
        Integers of the same shape. Equal values share a rank: after two best there is no second best. A column with
        fewer than two values has no best.
    """
    printed = percent.map(lambda value: float(f"{value:.{DECIMALS}f}"))
    places = printed.rank(ascending=False, method="min")
    return places.where((places <= 2) & (percent.count() >= 2), 0).astype(int)


def _scale_rows(
    scale: str, runs: list[RunLabel], summary: Summary, published: dict[RowKey, dict[str, float]], columns: list[str]
) -> list[Row]:
    """The rows of one scale: each method's, followed by the published one where there is one."""
    keys = {key: group for key, group in by_row(runs).items() if key[0] == scale}
    chosen = pd.MultiIndex.from_tuples(list(keys), names=ROW)
    percent = summary.mean.reindex(index=chosen, columns=columns) * 100
    std = summary.std.reindex(index=chosen, columns=columns) * 100
    places = ranks(percent)
    rows = []
    for (key, group), means, spreads, marks in zip(
        keys.items(), percent.to_numpy().tolist(), std.to_numpy().tolist(), places.to_numpy().tolist(), strict=True
    ):
        cells = [
            Cell(_percent(mean, MISSING), _percent(spread, ""), mark, mean)
            for mean, spread, mark in zip(means, spreads, marks, strict=True)
        ]
        rows.append(Row(group[0].title, cells, origin=_origin(scale, key, group), key=key))
        if printed := published.get(key):
            cells = [_printed(printed, column, MISSING) for column in columns]
            rows.append(Row(group[0].title, cells, "published", key=key))
    return rows


def _later_block(scale_title: str, later: LaterWork, columns: list[str]) -> Block:
    rows = [
        Row(title, [_printed(printed, column, "") for column in columns], "published")
        for title, printed in later.rows.items()
    ]
    return Block(f"{scale_title}, runs by {later.source}", rows)


def _printed(printed: dict[str, float], column: str, missing: str) -> Cell:
    value = 100 * printed.get(column, math.nan)
    return Cell(_percent(value, missing), value=value)


def _origin(scale: str, key: RowKey, group: list[RunLabel]) -> str:
    """The runs behind a row, by the names of their folders."""
    seeds = [f"seed{run.seed}" for run in group] if scale != EXTERNAL else [""]
    return f"{scale}: " + ", ".join("-".join(filter(None, (*key[1:], seed))) for seed in seeds)


def _percent(value: float, missing: str) -> str:
    return missing if math.isnan(value) else f"{value:.{DECIMALS}f}"


def _published(
    settings: TableSettings, options: Comparison, chosen: best_of.Chosen, columns: list[str]
) -> dict[RowKey, dict[str, float]]:
    """Published numbers of the shown rows; a row of the best of several methods has those of the first of them."""
    if options.published is None:
        return {}
    if settings.published is None:
        raise AmorlipError(f"options.published: the file of '{options.published}' was not given")
    wanted = columns if options.cost is None else [*columns, cost.column(options.cost)]
    published = read_published(settings.published, wanted)
    keys = {run.row: chosen.first.get(run.row, run.row) for run in chosen.runs}
    return {key: published[named] for key, named in keys.items() if named in published}


def _tidy(measured: pd.DataFrame, summary: Summary, guessing: dict[str, float]) -> pd.DataFrame:
    """The csv file, in percent: chance first, then one row per scale and method; `_std` columns where seeds repeat."""
    seeds = measured.groupby(level=ROW, sort=False).size().rename("seeds")
    means = (summary.mean * 100).assign(seeds=seeds).reset_index()
    row_of_chance = pd.DataFrame([{**guessing, "scale": "", "method": "chance", "variant": ""}])
    columns = [*ROW, "seeds", *summary.mean.columns]
    parts = [part.reindex(columns=columns) for part in (row_of_chance, means)]
    table = pd.concat(parts, ignore_index=True).astype({"seeds": "Int64"})
    if (seeds < 2).all():
        return table
    std = (summary.std * 100).add_suffix("_std").reset_index()
    return table.merge(std, on=ROW, how="left")
