"""One model on one task, from the files of both to the JSON file of the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from amorlip import models
from amorlip.common import files, provenance
from amorlip.common.errors import AmorlipError
from amorlip.common.files import overlap
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.run import read_run
from amorlip.config.scale import EvaluationSettings
from amorlip.config.selection import EXTERNAL
from amorlip.evaluation import score
from amorlip.evaluation.feature_cache import FeatureCache
from amorlip.evaluation.features import Encoder
from amorlip.evaluation.record import Evaluation, RunIdentity
from amorlip.tasks.record import TaskRecord


@dataclass(frozen=True)
class Subject:
    """A model to evaluate. It is loaded only if the task's files are there."""

    identity: RunIdentity
    model: str
    """OpenCLIP's name of the architecture."""
    load: Callable[[], models.LoadedModel]


def trained_run(folder: Path) -> Subject:
    """The weights of a run in a folder with model.safetensors and run.yaml. Raises AmorlipError for a bad run.yaml."""
    run = read_run(folder)
    identity = RunIdentity(scale=run.scale, method=run.method, variant=run.variant, seed=run.seed)
    model = run.recipe.model
    return Subject(identity, model, lambda: models.load(folder / "model.safetensors", model))


def external_model(name: str, model: str, pretrained: str) -> Subject:
    """Weights that were not trained here, under `name` in tables; see `models.load_published`."""
    identity = RunIdentity(scale=EXTERNAL, method=name, variant=None, seed=0, model=model, pretrained=pretrained)
    return Subject(identity, model, lambda: models.load_published(model, pretrained))


@dataclass(frozen=True)
class TaskFiles:
    """A task with its files on disk."""

    key: str
    """The task's key in its benchmark."""
    definition: TaskDefinition
    folder: Path
    record: TaskRecord
    """The folder's task.json."""


def evaluate(
    subject: Subject, task: TaskFiles, settings: EvaluationSettings, workers: int, output: Path, predictions: Path
) -> None:
    """Evaluate a model on a task. If the task's files are missing, the result has no value and gives the reason.

    Args:
        subject: the model.
        task: what to measure, on which files.
        settings: precision, batch size, and whether all scores are written.
        workers: processes that decode images.
        output: the JSON file (see `record.Evaluation`). Features are kept in its folder for tasks with the same
            classes or images.
        predictions: a parquet file, one row per sample with whether it is correct, for paired comparisons.

    Raises:
        AmorlipError: if the weights or the task's files are faulty.
    """
    if task.record.missing is not None:
        _note_missing(subject, task, task.record.missing, output, predictions)
        return
    loaded = subject.load()
    _refuse_overwriting(loaded, task, output, predictions)
    digest, versions = files.sha256(loaded.weights), provenance.versions()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    decides = [digest, subject.model, subject.identity.pretrained, versions, provenance.source_digest()]
    encoder = Encoder(
        loaded.network.to(device).eval(),
        loaded.preprocess,
        loaded.tokenizer,
        device=device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        workers=workers,
        full=settings.full_predictions,
        cache=FeatureCache(output.parent / "features", json.dumps(decides, sort_keys=True)),
    )
    scores = score.evaluate(encoder, task.definition, task.folder, predictions=predictions)
    Evaluation(
        task=task.key,
        run=subject.identity,
        **scores.model_dump(),
        weights_sha256=digest,
        task_source=task.record.source,
        settings=settings.model_dump(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        versions=versions,
        git_revision=provenance.revision(),
    ).write(output)
    print(f"{task.key}: {scores.main_metric} {scores.value:.4f} ({scores.samples} samples)")


def _refuse_overwriting(loaded: models.LoadedModel, task: TaskFiles, output: Path, predictions: Path) -> None:
    """Raise AmorlipError if a result would replace the weights or a file of the task."""
    for written in (output, predictions):
        for given in (loaded.weights, task.folder):
            if written.exists() and overlap(written, given):
                raise AmorlipError(f"{written} is or belongs to an input ({given}); choose another output")


def _note_missing(subject: Subject, task: TaskFiles, reason: str, output: Path, predictions: Path) -> None:
    with files.atomic_path(predictions) as temporary:
        pd.DataFrame().to_parquet(temporary)
    metric = task.definition.main_metric
    Evaluation(task=task.key, run=subject.identity, main_metric=metric, value=None, missing=reason).write(output)
    print(f"{task.key}: not evaluated: {reason}")
