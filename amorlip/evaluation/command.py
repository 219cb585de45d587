"""The stage `evaluate`: one run, one task, one JSON file."""

from __future__ import annotations

from pathlib import Path

from amorlip import files
from amorlip.config import EvaluationSettings, Run, Task
from amorlip.resolve import read_yaml, validate


def evaluate_run(
    *, run_folder: Path, key: str, task: Task, folder: Path, settings: EvaluationSettings, workers: int, output: Path
) -> None:
    """Evaluate the weights of `run_folder` on the task in `folder`.

    Args:
        run_folder: holds model.safetensors and run.yaml.
        key: the task's key in its benchmark.
        task: what to measure.
        folder: the task's files.
        settings: precision and batch size.
        workers: data-loading processes.
        output: the JSON file; it names the run and the sha256 of the weights it was computed from.

    Raises:
        AmorlipError: if the weights or the task's files are not what they should be.
    """
    import torch

    from amorlip import models
    from amorlip.evaluation import suite
    from amorlip.training import provenance

    run = validate(Run, read_yaml(run_folder / "run.yaml"), str(run_folder / "run.yaml"))
    weights = run_folder / "model.safetensors"
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
    )
    identity = {"scale": run.scale, "method": run.method, "variant": run.variant, "seed": run.seed}
    versions = provenance.versions()
    files.write_json(
        output, {"task": key, "run": identity, **result, "weights_sha256": files.sha256(weights), "versions": versions}
    )
    print(f"{key}: {task.main_metric} {result['value']:.4f} ({result['samples']} samples)")
