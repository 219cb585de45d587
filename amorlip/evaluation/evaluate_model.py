"""One model on one task after another, from the files of both to the JSON file of each result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from amorlip import models
from amorlip.common import devices, files, provenance
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


def external_model(name: str | None, model: str, pretrained: str) -> Subject:
    """Weights that were not trained here, under `name` in tables; see `models.load_published`."""
    weights = files.path_to_publish(pretrained) if Path(pretrained).is_file() else pretrained
    identity = RunIdentity(
        scale=EXTERNAL,
        method=name or f"{model}, {weights}",
        variant=None,
        seed=0,
        model=model,
        pretrained=weights,
    )
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


class Evaluator:
    """Evaluates one model on one task after another. The model is loaded at the first task that needs it."""

    def __init__(self, subject: Subject, settings: EvaluationSettings, workers: int, features: Path) -> None:
        """Args:
        subject: the model.
        settings: precision, batch size, and whether all scores are written.
        workers: processes that decode images.
        features: a folder where features are kept for tasks with the same classes or images.
        """
        self.subject, self.settings, self.workers, self.features = subject, settings, workers, features

    def evaluate(self, task: TaskFiles, output: Path, predictions: Path) -> None:
        """Evaluate the model on a task. If the task's files are missing, the result has no value and gives the reason.

        Args:
            task: what to measure, on which files.
            output: the JSON file (see `record.Evaluation`).
            predictions: a parquet file, one row per sample with whether it is correct, for paired comparisons.

        Raises:
            AmorlipError: if the weights or the task's files are faulty.
        """
        if task.record.missing is not None:
            _note_missing(self.subject, task, task.record.missing, output, predictions)
            return
        _refuse_overwriting(self.loaded, task, output, predictions)
        scores = score.evaluate(self.encoder, task.definition, task.folder, predictions=predictions)
        device = self.encoder.device
        Evaluation(
            task=task.key,
            run=self.subject.identity,
            **scores.model_dump(),
            weights_sha256=self.weights_sha256,
            inputs_sha256=self.inputs_sha256(task),
            task_source=_to_publish(task.record.source),
            settings=self.settings.deciding(),
            device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            versions=provenance.versions(),
            git_revision=provenance.revision(),
        ).write(output)
        print(f"{task.key}: {scores.main_metric} {scores.value:.4f} ({scores.samples} samples)", flush=True)

    def inputs_sha256(self, task: TaskFiles) -> str:
        """Checksum of all that decides the model's result on a task, except for the code and the packages."""
        decides = {
            "run": self.subject.identity.model_dump(),
            "model": self.subject.model,
            "weights": self.weights_sha256,
            "settings": self.settings.deciding(),
            "task": task.definition.model_dump(),
            "files": task.record.model_dump(),
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @cached_property
    def loaded(self) -> models.LoadedModel:
        """The model on the CPU. Raises AmorlipError if it cannot be loaded."""
        return self.subject.load()

    @property
    def weights_sha256(self) -> str:
        """Checksum of the weights."""
        return self.loaded.sha256

    @cached_property
    def encoder(self) -> Encoder:
        """The model on its device, with all that turns images and texts into features."""
        device = devices.best()
        if device.type == "cuda":
            devices.set_float32_precision(self.settings.precision)
        versions, code = provenance.versions(), provenance.source_digest()
        decides = [self.weights_sha256, self.subject.model, self.subject.identity.pretrained, versions, code]
        return Encoder(
            self.loaded.network.to(device).eval(),
            self.loaded.preprocess,
            self.loaded.tokenizer,
            device=device,
            precision=self.settings.precision,
            batch_size=self.settings.batch_size,
            workers=self.workers,
            full=self.settings.full_predictions,
            cache=FeatureCache(self.features, json.dumps(decides, sort_keys=True)),
        )


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
    print(f"{task.key}: not evaluated: {reason}", flush=True)


def _to_publish(source: Mapping[str, Any]) -> dict[str, Any]:
    """A task's source for a result that others may read: a path from the working directory, or a folder's name only."""
    found = dict(source)
    if path := found.get("path"):
        found["path"] = files.path_to_publish(path)
    return found
