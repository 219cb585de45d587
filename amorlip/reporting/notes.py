"""The sentences under a table: what its numbers are, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from amorlip.config.benchmark import Benchmark
from amorlip.config.display import EXTERNAL_TITLE, CorpusLabel, RunLabel, TableSettings
from amorlip.config.selection import EXTERNAL
from amorlip.corpus.records import Manifest
from amorlip.reporting.evaluations import Summary, column_title
from amorlip.reporting.published import LaterWork
from amorlip.reporting.runs import by_row
from amorlip.reporting.table_layout import MISSING, Block


def on_values(benchmark: Benchmark, runs: list[RunLabel], summary: Summary, columns: list[str]) -> list[str]:
    """What the numbers are, how many seeds they are means of, what the marks and averages mean."""
    rows = by_row(runs)
    notes = [f"{benchmark.title}: each task's main metric, named under its title, in percent; higher is better."]
    notes.append(_on_seeds([group for key, group in rows.items() if key[0] != EXTERNAL]))
    if any(key[0] == EXTERNAL for key in rows):
        notes.append(f"{EXTERNAL_TITLE}: evaluated in this study, not trained in it.")
    if len(rows) > 1:
        notes.append("Bold: best; underlined: second best within a scale, by the means as printed. Ties share a mark.")
    notes.append("Chance: the score of guessing; blank where it is unknown.")
    notes += [_on_average(benchmark, column) for column in columns if column in benchmark.averages]
    if set(benchmark.tasks) - set(columns):
        notes.append(f"The csv file has all {len(benchmark.tasks)} tasks.")
    return notes + _on_gaps(benchmark, runs, summary, columns)


def _on_gaps(benchmark: Benchmark, runs: list[RunLabel], summary: Summary, columns: list[str]) -> list[str]:
    """What a dash means, and which numbers are means over fewer seeds than the row has."""
    counts = {
        key: dict(zip(columns, values, strict=True))
        for key, values in zip(summary.count.index, summary.count[columns].to_numpy().tolist(), strict=True)
    }
    notes = []
    if any(count == 0 for row in counts.values() for count in row.values()):
        notes.append(f"{MISSING}: not measured. An average is given only if all its tasks were measured.")
    for key, group in by_row(runs).items():
        fewer = {column: count for column, count in counts[key].items() if 0 < count < len(group)}
        if fewer:
            listed = ", ".join(f"{column_title(benchmark, column)} ({count})" for column, count in fewer.items())
            notes.append(f"{group[0].title}, {group[0].scale_title}: fewer seeds than {len(group)} in {listed}.")
    return notes


def on_missing_runs(name: str, settings: TableSettings, summary: Summary) -> list[str]:
    """Rows without any result, and the command that makes them."""
    counts = dict(zip(summary.count.index, summary.count.sum(axis=1), strict=True))
    missing = [group[0] for key, group in by_row(settings.runs).items() if not counts[key]]
    if not missing:
        return []
    listed = _listed(f"{run.title} ({run.scale_title})" for run in missing)
    note = f"{MISSING}: no result of {listed}"
    if settings.study is None:
        return [f"{note}."]
    study = f"results/{settings.study}"
    return [f"{note}. To make them: snakemake --configfile {study}/config.yaml {study}/tables/{name}.md"]


def on_missing_tasks(benchmark: Benchmark, reasons: Mapping[str, str]) -> list[str]:
    """Evaluation sets that the study skipped, with the reason."""
    return [f"Missing: {benchmark.tasks[task].title} ({reason})." for task, reason in reasons.items()]


def _on_seeds(rows: list[list[RunLabel]]) -> str:
    lists = {tuple(run.seed for run in row) for row in rows}
    if len(lists) > 1:
        each = "; ".join(f"{row[0].title}, {row[0].scale_title}: {_listed(run.seed for run in row)}" for row in rows)
        return f"Means over seeds ({each}); ±: standard deviation over seeds (divisor n − 1), where there are several."
    seeds = lists.pop()
    if len(seeds) == 1:
        return f"One seed ({seeds[0]}) per method: the table cannot show how much of a difference is due to the seed."
    return f"Mean ± standard deviation (divisor n − 1) over {len(seeds)} seeds ({_listed(seeds)})."


def _on_average(benchmark: Benchmark, key: str) -> str:
    average = benchmark.averages[key]
    if average.tasks is None:
        return f"{average.title}: plain mean of all {len(benchmark.tasks)} tasks."
    return f"{average.title}: plain mean of {_listed(benchmark.tasks[task].title for task in average.tasks)}."


def on_published_rows(blocks: list[Block]) -> list[str]:
    """What the paper's own rows are, where there are any."""
    if any(row.kind == "published" and row.key for block in blocks for row in block.rows):
        return [f"As printed in the paper, not measured here. {MISSING}: not printed."]
    return []


def on_later_work(later: LaterWork) -> str:
    """Where a block of other authors' results is from, and what makes it differ."""
    pairs = f" {later.pairs:,} pairs of" if later.pairs else ""
    return (
        f"Runs by {later.source}: as printed in their paper. They trained these methods themselves, on{pairs}"
        f" {later.corpus}. Not measured here."
    )


def on_corpus(path: Path, labels: Mapping[str, CorpusLabel]) -> str:
    """How much of a training corpus could be downloaded, next to what the paper's authors had."""
    manifest = Manifest.read(path)
    label = labels.get(manifest.corpus, CorpusLabel(title=manifest.corpus))
    text = (
        f"Training corpus {label.title}: {manifest.samples:,} usable pairs of {manifest.requested:,}"
        f" ({manifest.usable_fraction:.1%})."
    )
    return f"{text} The paper's authors had {label.published_pairs:,}." if label.published_pairs else text


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
