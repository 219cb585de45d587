"""Tables: from result files to csv, Markdown, LaTeX and HTML.

A new table is one function in `FUNCTIONS` and one options type in `amorlip.config.experiment`. A function returns the
numbers as a tidy frame, which becomes the csv file, and the `Layout` that the other formats show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from amorlip.common import files
from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.experiment import Comparison, Experiment, options_type
from amorlip.config.load import validate
from amorlip.config.study import EXTERNAL
from amorlip.reporting import collect, markup
from amorlip.reporting.collect import Inputs, RunLabel
from amorlip.reporting.markup import MISSING, Block, Cell, Layout, Row

DECIMALS = 2
"""Of a percentage. Best and second best are decided on what is shown, so equal numbers are marked alike."""


@dataclass(frozen=True)
class Background:
    """What stands beside the numbers measured here."""

    manifests: Sequence[Path] = ()
    """manifest.json of the training corpora, for the yields under the table."""
    published_pairs: Mapping[str, int | None] = field(default_factory=dict)
    """Corpus → training pairs that the paper's authors had."""
    published: Path | None = None
    """Published numbers, see `collect.published`."""


def write(
    experiment_name: str,
    experiment: Experiment,
    benchmark: Benchmark,
    runs: list[RunLabel],
    evaluations: list[Path],
    metrics: list[Path],
    outputs: Mapping[str, Path],
    background: Background | None = None,
) -> None:
    """Write one table.

    Args:
        experiment_name: becomes the table's label.
        experiment: function, options and title.
        benchmark: tasks, averages and columns.
        runs: what is shown, in order.
        evaluations: JSON files, in any order.
        metrics: metrics.jsonl files, in any order.
        outputs: `csv`, `md`, `tex` and `html` → path.
        background: corpora and published numbers.

    Raises:
        AmorlipError: for an unknown function, wrong options, or result files that do not fit `runs` and `benchmark`.
    """
    where = f"experiment {experiment_name}"
    chosen = validate(options_type("table", experiment.function), experiment.options, f"{where}: options")
    inputs = Inputs(experiment_name, experiment, benchmark, runs, evaluations, metrics)
    numbers, layout = FUNCTIONS[experiment.function](inputs, chosen, background or Background())
    files.write_text(outputs["csv"], numbers.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    files.write_text(outputs["md"], markup.markdown(layout))
    files.write_text(outputs["tex"], markup.latex(layout))
    files.write_text(outputs["html"], markup.page(layout))


# ---------------------------------------------------------------- comparison of methods


def comparison(inputs: Inputs, chosen: Comparison, background: Background) -> tuple[pd.DataFrame, Layout]:
    """Scales × methods, mean over seeds, in percent; best and second best of each scale marked; chance on top."""
    benchmark, runs = inputs.benchmark, inputs.runs
    scores = collect.scores(collect.evaluations(inputs.evaluations, runs, benchmark), runs, benchmark)
    summary = collect.summarize(scores)
    guessing = collect.chance(benchmark) * 100
    groups = _groups(benchmark, chosen.columns)
    shown = [column for _, columns in groups for column in columns]
    printed = _published(chosen, background, shown)
    blocks = [Block("", [Row("Chance", [Cell(_percent(guessing[column], "")) for column in shown], "chance")])]
    blocks += [
        Block(title, _rows(scale, runs, summary, printed, shown)) for scale, title in collect.scales(runs).items()
    ]
    notes = [
        *_notes_on_values(benchmark, runs, summary, shown),
        *_notes_on_missing(benchmark, collect.missing(inputs.evaluations, benchmark)),
        *([] if printed is None else _notes_on_published(blocks)),
        *(_note_on_corpus(path, background.published_pairs) for path in background.manifests),
        *chosen.notes,
    ]
    layout = Layout(
        name=inputs.name,
        title=inputs.experiment.title,
        groups=[(title, len(columns)) for title, columns in groups],
        columns=[collect.title(benchmark, column) for column in shown],
        blocks=blocks,
        notes=notes,
    )
    return _tidy(scores, summary, guessing), layout


def _groups(benchmark: Benchmark, wanted: list[str] | None) -> list[tuple[str, list[str]]]:
    """Heading and column keys of each group, only the wanted columns; all there is, if the benchmark has no groups."""
    groups = [(group.title, group.columns) for group in benchmark.columns]
    if not groups:
        groups = [("Tasks", list(benchmark.tasks)), ("Averages", list(benchmark.averages))]
    if wanted is not None:
        known = [column for _, columns in groups for column in columns]
        for column in wanted:
            if column not in known:
                raise AmorlipError(f"options.columns: {unknown_key(column, known, 'column')}")
        groups = [(title, [column for column in columns if column in wanted]) for title, columns in groups]
    return [(title, columns) for title, columns in groups if columns]


def ranks(percent: pd.DataFrame) -> pd.DataFrame:
    """1 for the best and 2 for the second best of each column, else 0.

    Args:
        percent: one row a method, values as shown; NaN takes no part.

    Returns:
        Integers of the same shape. Equal values share a rank: after two best there is no second best. A column with
        fewer than two values has no best.
    """
    printed = percent.map(lambda value: float(f"{value:.{DECIMALS}f}"))
    places = printed.rank(ascending=False, method="min")
    return places.where((places <= 2) & (percent.count() >= 2), 0).astype(int)


def _rows(
    scale: str, runs: list[RunLabel], summary: collect.Summary, printed: pd.DataFrame | None, shown: list[str]
) -> list[Row]:
    """The rows of one scale: each method's, with the published one under it where there is one."""
    keys = {key: group for key, group in collect.rows(runs).items() if key[0] == scale}
    percent = summary.mean.loc[list(keys), shown] * 100
    std = summary.std.loc[list(keys), shown] * 100
    places = ranks(percent)
    rows = []
    for key, group in keys.items():
        cells = [
            Cell(_percent(percent.at[key, column], MISSING), _percent(std.at[key, column], ""), places.at[key, column])
            for column in shown
        ]
        seeds = [f"seed{run.seed}" for run in group] if scale != EXTERNAL else [""]
        origin = ", ".join("-".join(filter(None, (*key[1:], seed))) for seed in seeds)
        rows.append(Row(group[0].title, cells, origin=f"{scale}: {origin}"))
        if printed is not None and key in printed.index and printed.loc[key].notna().any():
            cells = [Cell(_percent(printed.at[key, column] * 100, MISSING)) for column in shown]
            rows.append(Row(f"{group[0].title}, published", cells, "published"))
    return rows


def _percent(value: float, missing: str) -> str:
    return missing if pd.isna(value) else f"{value:.{DECIMALS}f}"


def _published(chosen: Comparison, background: Background, shown: list[str]) -> pd.DataFrame | None:
    if chosen.published is None:
        return None
    if background.published is None:
        raise AmorlipError(f"options.published: the file of '{chosen.published}' was not given")
    return collect.published(background.published, shown)


def _tidy(scores: pd.DataFrame, summary: collect.Summary, guessing: pd.Series) -> pd.DataFrame:
    """The csv file, in percent: a row of chance, then a row a scale and method; `_std` columns where seeds repeat."""
    seeds = scores.groupby(level=collect.ROW, sort=False).size().rename("seeds")
    means = (summary.mean * 100).assign(seeds=seeds).reset_index()
    row_of_chance = guessing.to_frame().T.assign(scale="", method="chance", variant="")
    columns = [*collect.ROW, "seeds", *summary.mean.columns]
    parts = [part.reindex(columns=columns) for part in (row_of_chance, means)]
    table = pd.concat(parts, ignore_index=True).astype({"seeds": "Int64"})
    if (seeds < 2).all():
        return table
    std = (summary.std * 100).add_suffix("_std").reset_index()
    return table.merge(std, on=collect.ROW, how="left")


# ---------------------------------------------------------------- notes under the table


def _notes_on_values(
    benchmark: Benchmark, runs: list[RunLabel], summary: collect.Summary, shown: list[str]
) -> list[str]:
    rows = collect.rows(runs)
    notes = [f"{benchmark.title}: the main metric of each task in percent; more is better."]
    notes.append(_note_on_seeds([group for key, group in rows.items() if key[0] != EXTERNAL]))
    if any(key[0] == EXTERNAL for key in rows):
        notes.append("Published weights: evaluated here, not trained here.")
    if len(rows) > 1:
        notes.append(
            "Bold: best, underlined: second best within a scale, by the means as printed; equals are marked alike."
        )
    notes.append("Chance: what guessing scores; blank where that is not known.")
    notes += [_note_on_average(benchmark, column) for column in shown if column in benchmark.averages]
    if set(benchmark.tasks) - set(shown):
        notes.append(f"The csv file has all {len(benchmark.tasks)} tasks.")
    count = summary.count[shown]
    if (count == 0).any(axis=None):
        notes.append(f"{MISSING}: not measured. An average is given only if all its tasks were measured.")
    for key, group in rows.items():
        short = [column for column in shown if 0 < count.at[key, column] < len(group)]
        if short:
            columns = ", ".join(f"{collect.title(benchmark, c)} ({count.at[key, c]})" for c in short)
            notes.append(f"{group[0].title}, {group[0].scale_title}: over fewer seeds than {len(group)} in {columns}.")
    return notes


def _notes_on_missing(benchmark: Benchmark, reasons: Mapping[str, str]) -> list[str]:
    return [f"Missing: {benchmark.tasks[task].title} ({reason})." for task, reason in reasons.items()]


def _note_on_seeds(rows: list[list[RunLabel]]) -> str:
    lists = {tuple(run.seed for run in row) for row in rows}
    if len(lists) > 1:
        each = "; ".join(f"{row[0].title}, {row[0].scale_title}: {_listed(run.seed for run in row)}" for row in rows)
        return f"Means over seeds ({each}); ±: standard deviation over seeds (divisor n − 1), where there are several."
    seeds = lists.pop()
    if len(seeds) == 1:
        return (
            f"One seed ({seeds[0]}) per method, so the table cannot tell how much of a difference is due to the seed."
        )
    return f"Mean ± standard deviation (divisor n − 1) over {len(seeds)} seeds ({_listed(seeds)})."


def _note_on_average(benchmark: Benchmark, key: str) -> str:
    average = benchmark.averages[key]
    if average.tasks is None:
        return f"{average.title}: plain mean of all {len(benchmark.tasks)} tasks."
    return f"{average.title}: plain mean of {_listed(benchmark.tasks[task].title for task in average.tasks)}."


def _notes_on_published(blocks: list[Block]) -> list[str]:
    if any(row.kind == "published" for block in blocks for row in block.rows):
        return ["“published”: as printed in the paper, not measured here; these rows take no part in best and second."]
    return []


def _note_on_corpus(path: Path, published_pairs: Mapping[str, int | None]) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        text = (
            f"Corpus {found['corpus']} ({found['split']}): {found['samples']:,} usable pairs"
            f" of {found['requested']:,} requested; {found['yield']:.1%} could be downloaded."
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AmorlipError(f"{path}: no manifest of a corpus: {error!r}") from error
    published = published_pairs.get(found["corpus"])
    return f"{text} The paper's authors had {published:,}." if published else text


def _listed(values: object) -> str:
    return ", ".join(str(value) for value in values)


FUNCTIONS: dict[str, Callable[..., tuple[pd.DataFrame, Layout]]] = {"comparison": comparison}
"""Name in an experiment's `function` → function."""
