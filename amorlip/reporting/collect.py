"""From result files to tidy frames of numbers.

Reads the evaluations' JSON files, the runs' metrics.jsonl and the published numbers. A number belongs to the run that
its file names, never to a position in a list of files. Values stay fractions, as measured: percent is a matter of
display. Runs are keyed by `KEYS`, with "" for no variant.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.config.benchmark import Benchmark
from amorlip.config.experiment import Experiment
from amorlip.evaluation.aggregate import averages

ROW = ["scale", "method", "variant"]
"""What identifies a row of a table or a line of a figure."""
KEYS = [*ROW, "seed"]
"""What identifies a run."""


@dataclass(frozen=True)
class RunLabel:
    """A run that a table or figure shows, with the names that readers see."""

    scale: str
    method: str
    variant: str | None
    seed: int
    title: str
    """Name of the method, or of the variant in an ablation."""
    scale_title: str
    """Name of the scale."""

    @property
    def row(self) -> tuple[str, str, str]:
        """The values of `ROW`."""
        return self.scale, self.method, self.variant or ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The values of `KEYS`."""
        return *self.row, self.seed


@dataclass(frozen=True)
class Inputs:
    """What a table or figure is made from."""

    name: str
    """The experiment's name."""
    experiment: Experiment
    """What is to be shown."""
    benchmark: Benchmark
    """Tasks and averages, with their titles."""
    runs: list[RunLabel]
    """In the order in which they are shown."""
    evaluations: list[Path]
    """One JSON file a run and task, in any order."""
    metrics: list[Path]
    """One metrics.jsonl a run, in any order."""


def rows(runs: Iterable[RunLabel]) -> dict[tuple[str, str, str], list[RunLabel]]:
    """The runs of each row, rows and seeds in the order given."""
    grouped: dict[tuple[str, str, str], list[RunLabel]] = {}
    for run in runs:
        grouped.setdefault(run.row, []).append(run)
    return grouped


def scales(runs: Iterable[RunLabel]) -> dict[str, str]:
    """Scale → its title, in the order given."""
    return {run.scale: run.scale_title for run in runs}


def title(benchmark: Benchmark, column: str) -> str:
    """Title of a task or average."""
    return (benchmark.tasks.get(column) or benchmark.averages[column]).title


# ---------------------------------------------------------------- evaluations


def evaluations(paths: Iterable[Path], runs: Sequence[RunLabel], benchmark: Benchmark) -> pd.DataFrame:
    """The main metrics of runs on tasks.

    Returns:
        One row a file: the columns of `KEYS`, `task`, and `value` (a fraction; NaN where the file says null).

    Raises:
        AmorlipError: if a file is no evaluation, is of a run that is not shown or of an unknown task, was made with
            another main metric than the benchmark's, holds no fraction, or repeats another's run and task.
    """
    seen: dict[tuple[Any, ...], Path] = {}
    records = []
    for path in paths:
        found = _object(_text(path), str(path))
        task = found.get("task")
        if task not in benchmark.tasks:
            raise AmorlipError(f"{path}: {unknown_key(task, benchmark.tasks, 'task')}")
        wanted = benchmark.tasks[task].main_metric
        if found.get("main_metric") != wanted:
            raise AmorlipError(f"{path}: main metric {found.get('main_metric')!r}, but the benchmark says '{wanted}'")
        entry = (*_identity(found.get("run"), runs, path), task)
        if entry in seen:
            raise AmorlipError(f"{path}: the same run and task as {seen[entry]}")
        seen[entry] = path
        records.append((*entry, _fraction(found.get("value"), str(path))))
    return pd.DataFrame(records, columns=[*KEYS, "task", "value"])


def missing(paths: Iterable[Path], benchmark: Benchmark) -> dict[str, str]:
    """Task → why it could not be had, of those for which a file says so, in the benchmark's order."""
    found = [_object(_text(path), str(path)) for path in paths]
    reasons = {entry["task"]: entry["missing"] for entry in found if entry.get("missing")}
    return {task: reasons[task] for task in benchmark.tasks if task in reasons}


def scores(values: pd.DataFrame, runs: Sequence[RunLabel], benchmark: Benchmark) -> pd.DataFrame:
    """Main metrics and averages, run by run.

    Args:
        values: what `evaluations` returns.
        runs: every run that is shown; one without a file gets a row of NaN.
        benchmark: its tasks and averages become the columns.

    Returns:
        Fractions: one row a run (index `KEYS`, in the order of `runs`), one column a task, then one an average.

    Raises:
        AmorlipError: if a task and an average of the benchmark have the same key.
    """
    if both := set(benchmark.tasks) & set(benchmark.averages):
        raise AmorlipError(f"benchmark '{benchmark.title}': '{min(both)}' is a task and an average; rename one")
    index = pd.MultiIndex.from_tuples([run.key for run in runs], names=KEYS)
    wide = values.pivot(index=KEYS, columns="task", values="value").reindex(index=index, columns=list(benchmark.tasks))
    means = [averages(benchmark, dict(row)) for _, row in wide.iterrows()]
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
    """Mean, standard deviation and count over seeds of what `scores` returns, rows in its order."""
    grouped = values.groupby(level=ROW, sort=False)
    return Summary(grouped.mean(), grouped.std(ddof=1), grouped.count())


def chance(benchmark: Benchmark) -> pd.Series:
    """What guessing scores on each task and average (fractions); NaN where any part of it is not known."""
    known = {key: task.random_score for key, task in benchmark.tasks.items()}
    return pd.Series({**known, **averages(benchmark, known)}, dtype=float)


def published(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Numbers printed in a paper, for some columns.

    In the AmorLIP paper's Tables 2 and 3, the tasks behind the column "Retrieval" are not named (the default AmorLIP's
    28.10 is not Table 1's mean of two tasks, CLIP's 19.86 is): its key is `retrieval_of_tables_2_and_3`.

    Args:
        path: a csv file with one number a row: scale, method, variant (empty: none), column, value, unit.
        columns: keys of the tasks and averages that are wanted; others, such as step times, are left out.

    Returns:
        Fractions: index `ROW` in the file's order, one column each of `columns` (NaN where not printed).

    Raises:
        AmorlipError: if the file cannot be read as such, or a wanted number is not in percent.
    """
    try:
        table = pd.read_csv(path, dtype={key: str for key in ROW}, keep_default_na=False)
        table = table[table["column"].isin(columns)]
        if other := sorted(set(table["unit"]) - {"percent"}):
            raise AmorlipError(f"{path}: a number in {other[0]}, where percent is wanted")
        wide = table.pivot(index=ROW, columns="column", values="value").astype(float) / 100
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        raise AmorlipError(f"{path}: no table of published numbers: {one_line(error)}") from error
    return wide.reindex(index=pd.MultiIndex.from_frame(table[ROW].drop_duplicates()), columns=list(columns))


# ---------------------------------------------------------------- metrics of training


@dataclass(frozen=True)
class Metrics:
    """What runs logged while they trained."""

    steps: pd.DataFrame
    """One row a logging window: `KEYS`, `step`, `loss`, `logit_scale` and whatever else the method logged."""
    epochs: pd.DataFrame
    """One row an epoch, task and metric: `KEYS`, `epoch` (counted from 1), `task`, `metric`, `value`."""


def metrics(paths: Iterable[Path], runs: Sequence[RunLabel]) -> Metrics:
    """Read the metrics.jsonl of runs.

    Raises:
        AmorlipError: if a file does not begin with its run, is of a run that is not shown or repeats another's, or
            holds a line that is no JSON object.
    """
    seen: dict[tuple[str, str, str, int], Path] = {}
    steps: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    for path in paths:
        lines = _lines(path)
        first = next(lines, {})
        if first.get("kind") != "run":
            raise AmorlipError(f"{path}: the first line is not of kind 'run'")
        key = _identity(first, runs, path)
        if key in seen:
            raise AmorlipError(f"{path}: the same run as {seen[key]}")
        seen[key] = path
        identity = dict(zip(KEYS, key, strict=True))
        for line in lines:
            if line.get("kind") == "step":
                steps.append({**identity, **line})
            elif line.get("kind") == "epoch":
                epochs += [{**identity, **entry} for entry in _epoch(line)]
    step_frame = pd.DataFrame(steps, columns=None if steps else [*KEYS, "step"])
    return Metrics(step_frame, pd.DataFrame(epochs, columns=[*KEYS, "epoch", "task", "metric", "value"]))


def _epoch(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for task, found in line.get("tasks", {}).items():
        for metric, value in found.items():
            yield {"epoch": line["epoch"], "task": task, "metric": metric, "value": value}


def over_seeds(values: pd.DataFrame, by: str, column: str) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Statistics over seeds of one logged quantity.

    Args:
        values: a frame with `KEYS`, `by` and `column`; rows without a value are left out.
        by: what the seeds have in common: `step` or `epoch`.
        column: the quantity.

    Returns:
        Row (see `ROW`) → frame with index `by` and the columns mean, min, max, std (n - 1; NaN for one seed), count.
    """
    if column not in values:
        return {}
    values = values.assign(**{column: pd.to_numeric(values[column])}).dropna(subset=[column])
    return {
        key: group.groupby(by)[column].agg(["mean", "min", "max", "std", "count"])
        for key, group in values.groupby(ROW, sort=False)
    }


# ---------------------------------------------------------------- files


def _text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AmorlipError(f"{path}: not UTF-8 text") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AmorlipError(f"{where}: not valid JSON: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise AmorlipError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield _object(line, f"{path}, line {number}")


def _identity(found: Any, runs: Sequence[RunLabel], path: Path) -> tuple[str, str, str, int]:
    """`KEYS` of the run that a file names, if it is one of `runs`."""
    if not isinstance(found, dict) or any(part not in found for part in KEYS):
        raise AmorlipError(f"{path}: does not name its run by {', '.join(KEYS)}")
    key = (found["scale"], found["method"], found["variant"] or "", found["seed"])
    if key not in {run.key for run in runs}:
        name = ", ".join(f"{part} {value}" for part, value in zip(KEYS, key, strict=True) if value != "")
        raise AmorlipError(f"{path}: of the run {name}, which is not among those shown")
    return key


def _fraction(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isnan(value) or 0 <= value <= 1):
        raise AmorlipError(f"{where}: the value {value!r} is no fraction between 0 and 1")
    return float(value)
