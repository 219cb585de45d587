"""The stage `evaluate`: one model, one task, one JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.load import read_yaml, validate
from amorlip.config.run import Run
from amorlip.config.scale import EvaluationSettings
from amorlip.config.study import EXTERNAL
from amorlip.tasks.record import RECORD, missing


def run(
    settings: Mapping[str, Any],
    run: Path | None,
    model: str | None,
    pretrained: str | None,
    key: str,
    folder: Path,
    output: Path,
    predictions: Path | None,
    workers: int | None,
) -> None:
    """Evaluate one model on one task: a trained run, or any OpenCLIP model with --model and --pretrained.

    Without `workers`, all cores but one decode images. Raises AmorlipError where the settings do not hold the task.
    """
    if [value is not None for value in (run, model, pretrained)] not in ([True, False, False], [False, True, True]):
        raise AmorlipError("give either --run, or --model and --pretrained")
    arguments = {
        "key": key,
        "task": validate(TaskDefinition, settings.get("task") or _task_of_benchmark(settings, key), "settings: task"),
        "folder": folder,
        "settings": validate(EvaluationSettings, settings.get("evaluation", {}), "settings: evaluation"),
        "workers": len(os.sched_getaffinity(0)) - 1 if workers is None else workers,
        "output": output,
        "predictions": predictions or output.with_suffix(".parquet"),
    }
    if run:
        evaluate_run(run, **arguments)
    else:
        evaluate_external(settings.get("name", f"{model}, {pretrained}"), model, pretrained, **arguments)


def _task_of_benchmark(benchmark: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A task's keys from a benchmark's file, which may take the place of the settings."""
    tasks = benchmark.get("tasks", {})
    if key not in tasks:
        raise AmorlipError(f"settings: {unknown_key(key, tasks, 'task')}")
    return {name: value for name, value in tasks[key].items() if name in TaskDefinition.model_fields}


def evaluate_run(run_folder: Path, **arguments: Any) -> None:
    """Evaluate the weights of `run_folder`, which holds model.safetensors and run.yaml.

    `arguments` are those of `_evaluate`. Raises AmorlipError if the weights or the task's files are not whole.
    """
    from amorlip import models

    run = validate(Run, read_yaml(run_folder / "run.yaml"), str(run_folder / "run.yaml"))
    weights = run_folder / "model.safetensors"
    identity = run.model_dump(include={"scale", "method", "variant", "seed"})
    _evaluate(identity, lambda: (*models.load(weights, run.recipe.model), weights), run.recipe.model, **arguments)


def evaluate_external(name: str, model: str, pretrained: str, **arguments: Any) -> None:
    """Evaluate weights that were not trained here, under `name`; see `models.load_published`.

    `arguments` are those of `_evaluate`. Raises AmorlipError as `evaluate_run` does.
    """
    from amorlip import models

    identity = {"scale": EXTERNAL, "method": name, "variant": None, "seed": 0, "model": model, "pretrained": pretrained}
    _evaluate(identity, lambda: models.load_published(model, pretrained), model, **arguments)


def _evaluate(
    identity: dict[str, Any],
    load: Callable[[], tuple[Any, ...]],
    model: str,
    *,
    key: str,
    task: TaskDefinition,
    folder: Path,
    settings: EvaluationSettings,
    workers: int,
    output: Path,
    predictions: Path,
) -> None:
    """Evaluate what `load()` gives: a model, its transform, its tokenizer and the file of its weights.

    Args:
        identity: names the model in `output`.
        load: called if the task is there.
        model: name of the architecture.
        key: the task's key in its benchmark.
        task: what to measure.
        folder: the task's files, and task.json, which says where they are from; or that they are missing, of which
            `output` then is a record without a value.
        settings: precision, batch size, and whether all scores are written.
        workers: data-loading processes.
        output: the JSON file; it names the model, the sha256 of the weights, and the source of the task's files.
            Features are kept beside it, for tasks with the same classes or images.
        predictions: a parquet file, one row a sample with whether it is correct, for paired comparisons.
    """
    import torch

    from amorlip.common import provenance
    from amorlip.evaluation import suite
    from amorlip.evaluation.feature_cache import FeatureCache

    output.unlink(missing_ok=True)
    if reason := missing(folder):
        _note_missing(identity, key, task, reason, output, predictions)
        return
    network, preprocess, tokenizer, weights = load()
    digest = files.sha256(weights)
    versions = provenance.versions()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = suite.evaluate(
        network.to(device).eval(),
        preprocess,
        tokenizer,
        task,
        folder,
        device=device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        workers=workers,
        predictions=predictions,
        full_predictions=settings.full_predictions,
        cache=FeatureCache(
            output.parents[key.count("/")] / "features",
            f"{digest} {model} {identity.get('pretrained', '')} {json.dumps(versions, sort_keys=True)}",
        ),
    )
    record = {
        "task": key,
        "run": identity,
        **result,
        "weights_sha256": digest,
        "task_source": read_yaml(folder / RECORD)["source"],
        "settings": settings.model_dump(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "versions": versions,
    }
    files.write_json(output, record)
    print(f"{key}: {task.main_metric} {result['value']:.4f} ({result['samples']} samples)")


def _note_missing(
    identity: dict[str, Any], key: str, task: TaskDefinition, reason: str, output: Path, predictions: Path
) -> None:
    import pandas as pd

    with files.atomic_path(predictions) as temporary:
        pd.DataFrame().to_parquet(temporary)
    record = {"task": key, "run": identity, "main_metric": task.main_metric, "value": None, "missing": reason}
    files.write_json(output, record)
    print(f"{key}: not evaluated: {reason}")
