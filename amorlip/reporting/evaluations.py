"""From evaluation files to scores and their statistics over seeds.

A number belongs to the run that its file names, never to a position in a list of files. Values stay fractions, as
measured: percent is a matter of display.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.display import RunLabel
from amorlip.evaluation.aggregate import averages
from amorlip.reporting.result_files import json_object, read_text, run_key
from amorlip.reporting.runs import KEYS, ROW, RunKey


def column_title(benchmark: Benchmark, column: str) -> str:
    """Title of a task or average."""
    return (benchmark.tasks.get(column) or benchmark.averages[column]).title


def read_evaluations(paths: Iterable[Path], runs: Sequence[RunLabel], benchmark: Benchmark) -> pd.DataFrame:
    """The main metrics of runs on tasks.

    Returns:
        One row per file: the columns of `KEYS`, `task`, and `value` (a fraction; NaN where the file has null).

    Raises:
        AmorlipError: if a file is not an evaluation, is of a run that is not shown or of an unknown task, has another
            main metric than the benchmark, holds a value outside [0, 1], or repeats another file's run and task.
    """
    seen: dict[tuple[RunKey, str], Path] = {}
    records = []
    for path in paths:
        content = json_object(read_text(path), str(path))
        task = _known_task(content, benchmark, path)
        key = run_key(content.get("run"), runs, path)
        if (key, task) in seen:
            raise AmorlipError(f"{path}: has the same run and task as {seen[key, task]}")
        seen[key, task] = path
        records.append((*key, task, _fraction(content.get("value"), path)))
    return pd.DataFrame(records, columns=[*KEYS, "task", "value"])


def _known_task(content: dict[str, Any], benchmark: Benchmark, path: Path) -> str:
    task, metric = content.get("task"), content.get("main_metric")
    if task not in benchmark.tasks:
        raise AmorlipError(f"{path}: {unknown_key(task, benchmark.tasks, 'task')}")
    if metric != (expected := benchmark.tasks[task].main_metric):
        raise AmorlipError(
            f"{path}: its main metric is {metric!r}, the benchmark's is '{expected}'; delete it and run again"
        )
    return task


def _fraction(value: Any, path: Path) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isnan(value) or 0 <= value <= 1):
        raise AmorlipError(f"{path}: the value {value!r} is not a fraction between 0 and 1")
    return float(value)


def missing_tasks(paths: Iterable[Path], benchmark: Benchmark) -> dict[str, str]:
    """Task → why its evaluation set is missing, for the tasks whose files give a reason, in the benchmark's order."""
    contents = [json_object(read_text(path), str(path)) for path in paths]
    reasons = {content["task"]: content["missing"] for content in contents if content.get("missing")}
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
