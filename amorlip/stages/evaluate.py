"""The stage `evaluate`: one model on the tasks of a job, or on one task; one JSON file for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amorlip.common import gpus as devices
from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.benchmark import Task, TaskDefinition
from amorlip.config.load import validate
from amorlip.config.scale import EvaluationSettings
from amorlip.evaluation.record import remove_earlier
from amorlip.evaluation_jobs import last_forced
from amorlip.tasks.verify import verified_record

if TYPE_CHECKING:
    from amorlip.evaluation.evaluate_model import Evaluator


def run(
    settings: Mapping[str, Any],
    run: Path | None,
    model: str | None,
    pretrained: str | None,
    output: Path,
    workers: int | None,
    tasks: Path | None = None,
    record: Path | None = None,
    key: str | None = None,
    folder: Path | None = None,
    predictions: Path | None = None,
    gpus: int | None = None,
    device: str | None = None,
) -> None:
    """Evaluate one model: a trained run, or any OpenCLIP model with `model` and `pretrained`.

    Args:
        settings: definitions of tasks under `tasks`, and optionally `evaluation`; a benchmark's file will do.
        run: the folder of the run.
        model: OpenCLIP's name of the architecture, instead of `run`.
        pretrained: OpenCLIP's name of its weights, or a file.
        output: with `tasks`, the folder of the results; with `key`, the JSON file.
        workers: processes that decode images; None: all cores but one.
        tasks: the folder with a folder for each task of the settings, which are all evaluated.
        record: with `tasks`, a file to write at the end.
        key: evaluate only this task.
        folder: with `key`, the folder of the task.
        predictions: with `key`, the parquet file; None: next to `output`.
        gpus: GPUs to use, which no other process then uses; None: all that are visible, whoever uses them.
        device: `cpu` for the CPU on purpose; None: that of the settings.

    Raises:
        AmorlipError: if the arguments are wrong, the model cannot be loaded, or a task is faulty.
    """
    if (tasks is None) == (key is None) or (key is None) != (folder is None):
        raise AmorlipError("give either --tasks, or --key and --folder")
    evaluation = validate(EvaluationSettings, settings.get("evaluation", {}), "settings: evaluation")
    if (device or evaluation.device) == "cpu":
        devices.hide()
    elif gpus is not None:
        devices.claim(gpus)
    evaluator_in = _evaluator_in(settings, run, model, pretrained, evaluation, workers)
    if key is not None and folder is not None:
        _one_task(evaluator_in, settings, key, folder, output, predictions or output.with_suffix(".parquet"))
    elif tasks is not None:
        definitions = {name: _definition(settings, name) for name in settings.get("tasks", {})}
        from amorlip.evaluation import evaluate_tasks

        results = evaluate_tasks.Results(output, newer_than=last_forced(record) if record else 0)
        evaluate_tasks.evaluate_tasks(evaluator_in(output), definitions, tasks, results, record)


def _evaluator_in(
    settings: Mapping[str, Any],
    run: Path | None,
    model: str | None,
    pretrained: str | None,
    evaluation: EvaluationSettings,
    workers: int | None,
) -> Callable[[Path], Evaluator]:
    """What makes the evaluator, given the folder of its features; its imports take seconds."""
    if bool(run) == bool(model or pretrained) or bool(model) != bool(pretrained):
        raise AmorlipError("give either --run, or --model and --pretrained")

    def make(folder: Path) -> Evaluator:
        from amorlip.evaluation import evaluate_model as evaluating

        if run:
            subject = evaluating.trained_run(run)
        else:
            subject = evaluating.external_model(settings.get("name"), str(model), str(pretrained))
        processes = len(os.sched_getaffinity(0)) - 1 if workers is None else workers
        return evaluating.Evaluator(subject, evaluation, processes, folder / "features")

    return make


def _one_task(
    evaluator_in: Callable[[Path], Evaluator],
    settings: Mapping[str, Any],
    key: str,
    folder: Path,
    output: Path,
    predictions: Path,
) -> None:
    """Evaluate one task; an earlier result is replaced."""
    definition = _definition(settings, key)
    remove_earlier(output)
    record = verified_record(folder)
    from amorlip.evaluation.evaluate_model import TaskFiles

    evaluator_in(output.parent).evaluate(TaskFiles(key, definition, folder, record), output, predictions)


def _definition(settings: Mapping[str, Any], key: str) -> TaskDefinition:
    """What is measured: the key `task`, or an entry of `tasks`, as a benchmark's file has it."""
    tasks = {key: settings["task"]} if "task" in settings else settings.get("tasks", {})
    if key not in tasks:
        raise AmorlipError(f"settings: {unknown_key(key, tasks, 'task')}")
    others = Task.model_fields.keys() - TaskDefinition.model_fields.keys()  # of a benchmark's file
    measured = {name: value for name, value in tasks[key].items() if name not in others}
    return validate(TaskDefinition, measured, f"settings: tasks.{key}")
