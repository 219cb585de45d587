"""From the metrics.jsonl of runs to curves over steps and epochs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amorlip.common.errors import AmorlipError
from amorlip.config.display import RunLabel
from amorlip.reporting.runs import KEYS, ROW, RowKey, RunKey, shown_run
from amorlip.training import records
from amorlip.training.records import EpochRecord, RunRecord, StepRecord


@dataclass(frozen=True)
class TrainingMetrics:
    """What runs logged while they trained."""

    steps: pd.DataFrame
    """One row per logging window: `KEYS`, `step`, `loss`, `logit_scale` and everything else that the method logged."""
    epochs: pd.DataFrame
    """One row per epoch, task and metric: `KEYS`, `epoch` (counted from 1), `task`, `metric`, `value`, and what
    training had cost by then: `samples` (pairs seen) and `hours`."""


def read_training_metrics(paths: Iterable[Path], runs: Sequence[RunLabel]) -> TrainingMetrics:
    """Read the metrics.jsonl of runs.

    Raises:
        AmorlipError: if a file does not begin with its run, is of a run that is not shown or repeats another's, or
            holds a line that is not a record.
    """
    seen: dict[RunKey, Path] = {}
    steps: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    for path in paths:
        first, *rest = records.read(path) or [None]
        if not isinstance(first, RunRecord):
            raise AmorlipError(f"{path}: the first line is not of kind 'run'")
        key = _run_key(first.model_dump(), runs, path)
        if key in seen:
            raise AmorlipError(f"{path}: has the same run as {seen[key]}")
        seen[key] = path
        identity = dict(zip(KEYS, key, strict=True))
        hours = 0.0
        for record in rest:
            if isinstance(record, StepRecord):
                steps.append({**identity, **record.model_dump()})
            elif isinstance(record, EpochRecord):
                hours += record.seconds / 3600
                spent = {"samples": record.epoch * first.samples, "hours": hours}
                epochs += [{**identity, **spent, **entry} for entry in _epoch_entries(record)]
    step_frame = pd.DataFrame(steps, columns=None if steps else [*KEYS, "step"])
    return TrainingMetrics(
        step_frame, pd.DataFrame(epochs, columns=[*KEYS, "samples", "hours", "epoch", "task", "metric", "value"])
    )


def _epoch_entries(record: EpochRecord) -> Iterator[dict[str, Any]]:
    for task, metrics in record.tasks.items():
        for metric, value in metrics.items():
            yield {"epoch": record.epoch, "task": task, "metric": metric, "value": value}


def over_seeds(values: pd.DataFrame, by: str, column: str) -> dict[RowKey, pd.DataFrame]:
    """Statistics over the seeds of one logged quantity.

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
        (str(key[0]), str(key[1]), str(key[2])): group.groupby(by)[column].agg(["mean", "min", "max", "std", "count"])
        for key, group in values.groupby(ROW, sort=False)
    }


def _run_key(content: Any, runs: Sequence[RunLabel], path: Path) -> RunKey:
    """The run that a file names by `KEYS`. Raises AmorlipError if it names none, or one that is not in `runs`."""
    if not isinstance(content, dict) or any(part not in content for part in KEYS):
        raise AmorlipError(f"{path}: does not name its run by {', '.join(KEYS)}")
    return shown_run((content["scale"], content["method"], content["variant"] or "", content["seed"]), runs, path)
