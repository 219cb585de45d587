"""Scoring one model on one task."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amorlip.common.errors import AmorlipError
from amorlip.common.files import atomic_path
from amorlip.config.benchmark import TaskDefinition
from amorlip.evaluation import association, classification, retrieval
from amorlip.evaluation.feature_cache import FeatureCache
from amorlip.evaluation.features import Encoder, Preprocess, evaluation_mode
from amorlip.evaluation.result import Result

EVALUATORS: dict[str, Callable[[Encoder, TaskDefinition, Path], Result]] = {
    "classification": classification.evaluate,
    "classification_grouped": classification.evaluate,
    "retrieval": retrieval.evaluate,
    "association": association.evaluate,
}


def evaluate(
    model: nn.Module,
    preprocess: Preprocess,
    tokenizer: Callable[[list[str]], torch.Tensor],
    task: TaskDefinition,
    folder: Path,
    *,
    device: torch.device | str,
    precision: str = "float32",
    batch_size: int,
    workers: int = 0,
    predictions: Path | None = None,
    full_predictions: bool = False,
    cache: FeatureCache | None = None,
) -> dict[str, Any]:
    """Score `model` (OpenCLIP's, on `device`) on the files in `folder`; ready for JSON.

    Usable inside training: the modules' modes are restored and no global random numbers are drawn. `workers` decode
    images and change no result. `predictions` names a parquet file for one row a sample, with whether it is correct
    and, with `full_predictions`, all scores. `cache` keeps class embeddings, and the image features of tasks with
    `shared_images`, for further tasks of the same weights.

    Returns main_metric, value (of that metric), metrics (all), samples (images; association: rounds) and
    samples_expected (None: any), classes, groups (value of the grouping column → accuracy and count), per_class
    (counts), interval95 (bootstrap of the main metric; None for those that `bootstrap` leaves out), seconds and
    images_per_s (of the whole evaluation; None if features came from `cache`, since that is no speed of the model's).
    Raises AmorlipError where the set is faulty, its size is not the task's, or it cannot give the main metric.
    """
    start = time.perf_counter()
    taken = 0 if cache is None else cache.taken
    if not folder.is_dir():
        raise AmorlipError(f"{folder} does not exist; it should hold the files of an evaluation task")
    encoder = Encoder(
        model, preprocess, tokenizer, torch.device(device), precision, batch_size, workers, full_predictions, cache
    )
    with evaluation_mode(model):
        result = EVALUATORS[task.kind](encoder, task, folder)
    if task.main_metric not in result.metrics:
        known = ", ".join(result.metrics)
        raise AmorlipError(f"{folder} cannot give the main metric '{task.main_metric}' ; it gives {known}")
    if predictions is not None:
        with atomic_path(predictions) as temporary:
            result.rows.to_parquet(temporary, index=False)
    seconds = time.perf_counter() - start
    return {
        "main_metric": task.main_metric,
        "value": result.metrics[task.main_metric],
        "metrics": result.metrics,
        "samples": result.samples,
        "samples_expected": task.samples,
        "classes": result.classes,
        "groups": result.groups,
        "per_class": result.per_class,
        "interval95": result.interval95,
        "seconds": seconds,
        "images_per_s": result.images / seconds if cache is None or cache.taken == taken else None,
    }
