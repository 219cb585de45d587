"""The stage `evaluate`: one run, one task, one JSON file."""

from __future__ import annotations

from pathlib import Path

from amorlip import files
from amorlip.config import EvaluationSettings, Run, Task
from amorlip.data.tasks import RECORD
from amorlip.resolve import read_yaml, validate


def evaluate_run(
    *,
    run_folder: Path,
    key: str,
    task: Task,
    folder: Path,
    settings: EvaluationSettings,
    workers: int,
    output: Path,
    predictions: Path,
) -> None:
    """Evaluate the weights of `run_folder` on the task in `folder`.

    Args:
        run_folder: holds model.safetensors and run.yaml.
        key: the task's key in its benchmark.
        task: what to measure.
        folder: the task's files, and task.json, which says where they are from.
        settings: precision and batch size.
        workers: data-loading processes.
        output: the JSON file; it names the run, the sha256 of the weights, and the source of the task's files.
            Class embeddings are kept beside it, for tasks with the same names and templates.
        predictions: a parquet file, one row a sample with whether it is correct, for paired comparisons.

    Raises:
        AmorlipError: if the weights or the task's files are not what they should be.
    """
    import torch

    from amorlip import models
    from amorlip.evaluation import suite
    from amorlip.evaluation.class_cache import ClassCache
    from amorlip.training import provenance

    run = validate(Run, read_yaml(run_folder / "run.yaml"), str(run_folder / "run.yaml"))
    weights = run_folder / "model.safetensors"
    digest = files.sha256(weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, preprocess, tokenizer = models.load(weights, run.recipe.model)
    result = suite.evaluate(
        model.to(device).eval(),
        preprocess,
        tokenizer,
        task,
        folder,
        device=device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        workers=workers,
        predictions=predictions,
        class_cache=ClassCache(output.parents[key.count("/")] / "class_embeddings", f"{digest} {run.recipe.model}"),
    )
    record = {
        "task": key,
        "run": run.model_dump(include={"scale", "method", "variant", "seed"}),
        **result,
        "weights_sha256": digest,
        "task_source": read_yaml(folder / RECORD)["source"],
        "versions": provenance.versions(),
    }
    files.write_json(output, record)
    print(f"{key}: {task.main_metric} {result['value']:.4f} ({result['samples']} samples)")
