"""From evaluation files to scores and their statistics over seeds.

A number belongs to the run that its file names, never to a position in a list of files. Values stay fractions, as
measured: percent is a matter of display.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.display import RunLabel
from amorlip.evaluation.aggregate import averages
from amorlip.evaluation.record import Evaluation
from amorlip.reporting.runs import KEYS, ROW, RunKey, shown_run


def column_title(benchmark: Benchmark, column: str) -> str:
    """Title of a task or average."""
    return (benchmark.tasks.get(column) or benchmark.averages[column]).title


def chosen_columns(benchmark: Benchmark, wanted: Sequence[str] | None) -> list[str]:
    """Columns that a figure shows: the wanted ones, or the averages among the columns of tables.

    Raises:
        AmorlipError: for an unknown task or average.
    """
    if wanted is None:
        in_tables = {column for group in benchmark.columns for column in group.columns}
        return [average for average in benchmark.averages if average in in_tables or not in_tables]
    known = [*benchmark.tasks, *benchmark.averages]
    for column in wanted:
        if column not in known:
            raise AmorlipError(f"options.columns: {unknown_key(column, known, 'task or average')}")
    return list(wanted)


def read_evaluations(paths: Iterable[Path], runs: Sequence[RunLabel], benchmark: Benchmark) -> pd.DataFrame:
    """The main metrics of runs on tasks.

    Returns:
        One row per file: the columns of `KEYS`, `task`, and `value` (a fraction; NaN where the file has null).

    Raises:
        AmorlipError: if a file is not an evaluation, is of a run that is not shown or of an unknown task, has another
            main metric than the benchmark, holds a value outside [0, 1], or repeats another file's run and task.
    """
    seen: dict[tuple[RunKey, str], Path] = {}
    values = []
    for path in paths:
        evaluation = Evaluation.read(path)
        _check_task(evaluation, benchmark, path)
        run = evaluation.run
        key = shown_run((run.scale, run.method, run.variant or "", run.seed), runs, path)
        if (key, evaluation.task) in seen:
            raise AmorlipError(f"{path}: has the same run and task as {seen[key, evaluation.task]}")
        seen[key, evaluation.task] = path
        values.append((*key, evaluation.task, math.nan if evaluation.value is None else evaluation.value))
    return pd.DataFrame(values, columns=[*KEYS, "task", "value"])


def _check_task(evaluation: Evaluation, benchmark: Benchmark, path: Path) -> None:
    if evaluation.task not in benchmark.tasks:
        raise AmorlipError(f"{path}: {unknown_key(evaluation.task, benchmark.tasks, 'task')}")
    expected = benchmark.tasks[evaluation.task].main_metric
    if evaluation.main_metric != expected:
        raise AmorlipError(
            f"{path}: its main metric is '{evaluation.main_metric}', the benchmark's is '{expected}'; "
            "delete the file and run again to make a new one"
        )


def missing_tasks(paths: Iterable[Path], benchmark: Benchmark) -> dict[str, str]:
    """Task → why its evaluation set is missing, for the tasks whose files give a reason, in the benchmark's order."""
    evaluations = [Evaluation.read(path) for path in paths]
    reasons = {evaluation.task: evaluation.missing for evaluation in evaluations if evaluation.missing}
    return {task: reasons[task] for task in benchmark.tasks if task in reasons}


def scores(values: pd.DataFrame, runs: Sequence[RunLabel], benchmark: Benchmark) -> pd.DataFrame:
    """Main metrics and averages of each run.

    Args:
        values: what `read_evaluations` returns.
        runs: every run that is shown; one without a file gets a row of NaN.
        benchmark: its tasks and averages become the columns.

    Returns:
        Fractions: one row per run (index `KEYS`, in the order of `runs`), one column per task, then one per average.

    Raises:
        AmorlipError: if a task and an average of the benchmark have the same key.
    """
    if both := set(benchmark.tasks) & set(benchmark.averages):
        raise AmorlipError(f"benchmark '{benchmark.title}': '{min(both)}' is a task and an average; rename one")
    index = pd.MultiIndex.from_tuples([run.key for run in runs], names=KEYS)
    wide = values.pivot(index=KEYS, columns="task", values="value").reindex(index=index, columns=list(benchmark.tasks))
    tasks = list(benchmark.tasks)
    means = [averages(benchmark, dict(zip(tasks, row, strict=True))) for row in wide.to_numpy(dtype=float).tolist()]
    return wide.join(pd.DataFrame(means, index=index, columns=list(benchmark.averages), dtype=float)).astype(float)


@dataclass(frozen=True)
class Summary:
    """Statistics over the seeds of each row: three frames with index `ROW` and the columns of the scores."""

    mean: pd.DataFrame
    """Over the seeds that have a value; NaN where none has."""
    std: pd.DataFrame
    """Sample standard deviation (divisor n - 1); NaN below two values."""
    count: pd.DataFrame
    """Number of seeds that have a value."""


def summarize(values: pd.DataFrame) -> Summary:
    """Mean, standard deviation and count over the seeds of what `scores` returns. Rows keep their order."""
    grouped = values.groupby(level=ROW, sort=False)
    return Summary(grouped.mean(), grouped.std(ddof=1), grouped.count())


def chance(benchmark: Benchmark) -> dict[str, float]:
    """What guessing scores on each task and average (fractions); NaN where any part of it is unknown."""
    known = {key: task.random_score for key, task in benchmark.tasks.items()}
    scores_of_guessing = {**known, **averages(benchmark, known)}
    return {column: math.nan if value is None else value for column, value in scores_of_guessing.items()}
