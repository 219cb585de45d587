"""Scoring one model on one task.

A new kind of task: an entry of `EVALUATORS` here; `kind`, `METRICS` and `main_metric` in config/benchmark.py; its
layout in tasks/read.py and tasks/check.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.common.files import atomic_path
from amorlip.config.benchmark import TaskDefinition
from amorlip.evaluation import association, classification, retrieval
from amorlip.evaluation.features import Encoder, evaluation_mode
from amorlip.evaluation.record import Scores
from amorlip.evaluation.result import Result

EVALUATORS: dict[str, Callable[[Encoder, TaskDefinition, Path], Result]] = {
    "classification": classification.evaluate,
    "classification_grouped": classification.evaluate,
    "retrieval": retrieval.evaluate,
    "association": association.evaluate,
}


def evaluate(encoder: Encoder, task: TaskDefinition, folder: Path, *, predictions: Path | None = None) -> Scores:
    """Score a model on the files of a task.

    Usable inside training: the model's modules keep their modes, and no global random numbers are drawn.

    Args:
        encoder: the model with all that turns images and texts into features.
        task: what to measure.
        folder: the task's files.
        predictions: a parquet file to write: one row per sample with whether it is correct, and with
            `encoder.full` all scores.

    Raises:
        AmorlipError: if the set is faulty, its size is not the task's, or it cannot give the main metric.
    """
    start = time.perf_counter()
    taken = 0 if encoder.cache is None else encoder.cache.taken
    if not folder.is_dir():
        raise AmorlipError(f"{folder} does not exist; it should hold the files of an evaluation task")
    with evaluation_mode(encoder.model):
        result = EVALUATORS[task.kind](encoder, task, folder)
    if task.main_metric not in result.metrics:
        known = ", ".join(result.metrics)
        raise AmorlipError(f"{folder} cannot give the main metric '{task.main_metric}'; it gives {known}")
    if predictions is not None:
        with atomic_path(predictions) as temporary:
            result.rows.to_parquet(temporary, index=False)
    seconds = time.perf_counter() - start
    all_encoded = encoder.cache is None or encoder.cache.taken == taken
    return Scores(
        main_metric=task.main_metric,
        value=result.metrics[task.main_metric],
        metrics=result.metrics,
        samples=result.samples,
        samples_expected=task.samples,
        classes=result.classes,
        groups=result.groups,
        per_class=result.per_class,
        interval95=result.interval95,
        seconds=seconds,
        images_per_s=result.images / seconds if all_encoded else None,
    )
