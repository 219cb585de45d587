"""The stage `evaluate`: one model, one task, one JSON file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.load import validate
from amorlip.config.scale import EvaluationSettings
from amorlip.evaluation.record import remove_earlier
from amorlip.tasks.verify import verified_record


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

    Without `workers`, all cores but one decode images. Raises AmorlipError where the settings lack the task.
    """
    task = validate(TaskDefinition, settings.get("task") or _task_of_benchmark(settings, key), "settings: task")
    evaluation = validate(EvaluationSettings, settings.get("evaluation", {}), "settings: evaluation")
    remove_earlier(output)
    record = verified_record(folder)
    # The imports below take seconds, so what is wrong with the arguments is found before them.
    if run and not (model or pretrained):
        from amorlip.evaluation import evaluate_model

        subject = evaluate_model.trained_run(run)
    elif model and pretrained and not run:
        from amorlip.evaluation import evaluate_model

        subject = evaluate_model.external_model(settings.get("name", f"{model}, {pretrained}"), model, pretrained)
    else:
        raise AmorlipError("give either --run, or --model and --pretrained")
    evaluate_model.evaluate(
        subject,
        evaluate_model.TaskFiles(key, task, folder, record),
        evaluation,
        len(os.sched_getaffinity(0)) - 1 if workers is None else workers,
        output,
        predictions or output.with_suffix(".parquet"),
    )


def _task_of_benchmark(benchmark: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A task's keys from a benchmark's file, which may take the place of the settings."""
    tasks = benchmark.get("tasks", {})
    if key not in tasks:
        raise AmorlipError(f"settings: {unknown_key(key, tasks, 'task')}")
    return {name: value for name, value in tasks[key].items() if name in TaskDefinition.model_fields}
