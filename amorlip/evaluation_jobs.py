"""Which tasks an evaluation job computes, and its time limit. No PyTorch here: Snakemake reads it.

Loading the packages and the model takes longer than many a task, so a few jobs share the tasks of a model.
See docs/decisions/2026-11-26-evaluation-jobs.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from amorlip.config.benchmark import Benchmark
from amorlip.config.scale import EvaluationResources
from amorlip.config.selection import EXTERNAL
from amorlip.study import Study

UNKNOWN_SAMPLES = 50_000
"""Images of a task without `samples`, for the time limit: those of ImageNet's validation set."""


@dataclass(frozen=True)
class EvaluationJob:
    """One job: a model on some or all tasks of the benchmark."""

    scale: str
    """`external` for weights that were not trained here."""
    model: str
    """Name of the run or of the external model."""
    share: str
    """Such as `1-of-2`."""
    tasks: list[str]
    resources: EvaluationResources
    runtime_min: int
    """Time limit [min]: longer the more images the tasks have."""


def jobs(study: Study) -> list[EvaluationJob]:
    """All evaluation jobs of a study."""
    models = [(run.scale, run.name, study.scales[run.scale].evaluate_resources) for _, run in study.runs]
    models += [(EXTERNAL, name, model.resources) for name, model in study.selection.external_models.items()]
    return [
        EvaluationJob(scale, model, share, tasks, resources, _runtime_min(study.benchmark, tasks, resources))
        for scale, model, resources in models
        for share, tasks in shares(study.benchmark, resources.jobs).items()
    ]


def shares(benchmark: Benchmark, number: int) -> dict[str, list[str]]:
    """Share → its tasks: about equally many images, in the benchmark's order.

    Neighbors stay together, since they may share class names or images, whose features are computed once.
    """
    tasks: list[list[str]] = [[] for _ in range(number)]
    total, before = _images(benchmark, list(benchmark.tasks)), 0
    for key in benchmark.tasks:
        tasks[before * number // total].append(key)
        before += _images(benchmark, [key])
    filled = [keys for keys in tasks if keys]
    return {f"{position}-of-{len(filled)}": keys for position, keys in enumerate(filled, start=1)}


def _runtime_min(benchmark: Benchmark, tasks: list[str], resources: EvaluationResources) -> int:
    return resources.runtime_min + math.ceil(_images(benchmark, tasks) / resources.images_per_s / 60)


def _images(benchmark: Benchmark, tasks: list[str]) -> int:
    return sum(benchmark.tasks[task].samples or UNKNOWN_SAMPLES for task in tasks)


# ---------------------------------------------------------------- files


def record_name(share: str) -> str:
    """The record of a job, in the folder of its results. A task's key cannot begin with a dot."""
    return f".evaluated-{share}.json"


def force(record: Path) -> None:
    """Make the job that writes `record` compute results again that are there, since its user forced it.

    The job itself cannot know: Snakemake deletes its record in any case.
    """
    marker = _marker(record)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def last_forced(record: Path) -> float:
    """When a job was forced last [s since 1970], 0 if never. Results that are older are not used."""
    marker = _marker(record)
    return marker.stat().st_mtime if marker.is_file() else 0


def _marker(record: Path) -> Path:
    return record.with_suffix(".forced")
