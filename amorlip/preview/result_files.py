"""The result files of stand-in runs, in the formats of real ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from amorlip.common import files
from amorlip.common.stable_hash import stable_int
from amorlip.config.benchmark import Benchmark
from amorlip.config.run import Run
from amorlip.evaluation.record import Evaluation, RunIdentity
from amorlip.preview.scores import StandIn
from amorlip.reporting.published import read_costs
from amorlip.reporting.runs import RowKey
from amorlip.training import records
from amorlip.training.records import CorpusRecord, EpochRecord, Provenance, Record, RunRecord, StepRecord

STEPS = 100
"""Of an epoch; only the shape of the curves is shown."""
PREDICTIONS = 1000
"""Samples of each task."""
SAMPLES, SECONDS = 2_000_000, 300.0
"""Pairs and duration of an epoch."""
SOURCE = "stand-in, not measured"


def row_of(run: Run) -> RowKey:
    """Scale, method, variant."""
    return run.scale, run.method, run.variant or ""


def evaluations(run: Run, scores: StandIn, benchmark: Benchmark, folder: Path) -> list[Path]:
    """Write one evaluation per task."""
    paths = []
    for task, value in scores.tasks.items():
        paths.append(folder / "evaluations" / run.scale / run.name / f"{task}.json")
        metric = benchmark.tasks[task].main_metric
        identity = RunIdentity(scale=run.scale, method=run.method, variant=run.variant, seed=run.seed)
        Evaluation(
            task=task, run=identity, main_metric=metric, value=value, metrics={metric: value}, device=SOURCE
        ).write(paths[-1])
    return paths


def predictions(evaluation: Path) -> Path:
    """Write made-up predictions next to an evaluation, as often right as it says."""
    found = Evaluation.read(evaluation)
    difficulty = np.random.default_rng(stable_int(found.task)).random(PREDICTIONS)  # the same for all models
    chance = np.random.default_rng(stable_int(*found.run.model_dump().values(), found.task)).random(PREDICTIONS)
    path = evaluation.with_suffix(".parquet")
    rows = {"key": [f"s{number:07d}" for number in range(PREDICTIONS)]}
    correct = 0.8 * difficulty + 0.2 * chance < (found.value or 0)
    pd.DataFrame(rows).assign(correct=correct).to_parquet(path, index=False)
    return path


def metrics(run: Run, scores: StandIn, benchmark: Benchmark, folder: Path) -> Path:
    """Write metrics.jsonl: curves that end at the run's scores of its `epoch_tasks`."""
    path = folder / "runs" / run.scale / run.name / "metrics.jsonl"
    lines = "".join(records.line(record) for record in _records(run, scores, benchmark))
    files.write_text(path, lines)
    return path


def _records(run: Run, scores: StandIn, benchmark: Benchmark) -> Iterator[Record]:
    epochs = run.recipe.epochs
    yield RunRecord(
        scale=run.scale, method=run.method, variant=run.variant, seed=run.seed, steps_per_epoch=STEPS, epochs=epochs,
        samples=SAMPLES, parameters=1,
    )  # fmt: skip
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        share = (1 - math.exp(-4 * done)) / (1 - math.exp(-4))
        unexplained = 1.2 - (0.6 if run.objective == "amorlip_l2log" else 0.4) * done
        estimate = (
            {"log_z_unexplained": unexplained, "log_z_error": 0.3 * unexplained}
            if run.objective.startswith("amorlip") else {}
        )  # fmt: skip
        yield StepRecord.model_validate(
            {
                "step": epoch * STEPS, "epoch": epoch, "samples_seen": epoch * SAMPLES, "lr": 1e-3 * (1 - done),
                "loss": 6 - 5 * share,
                "grad_norm": 1.0, "skipped_steps": 0, "samples_per_s": 1.0, "infonce": 6 - 5 * share,
                "logit_scale": 14.3 + 50 * done, **estimate,
            }
        )  # fmt: skip
        tasks: dict[str, dict[str, float | None]] = {
            task: {str(benchmark.tasks[task].main_metric): share * scores.tasks[task]}
            for task in run.recipe.epoch_tasks
        }
        yield EpochRecord(epoch=epoch, step=epoch * STEPS, seconds=SECONDS, tasks=tasks)


def provenance(run: Run, paper: Path, folder: Path) -> Path:
    """Write provenance.json with the published step time and memory, where the paper prints them."""
    path = folder / "runs" / run.scale / run.name / "provenance.json"
    Provenance(
        scale=run.scale, method=run.method, variant=run.variant, seed=run.seed,
        corpus=CorpusRecord(name=run.recipe.corpus, digest=SOURCE, pairs=1), steps=1, samples_seen=1, skipped_steps=0,
        training_seconds=1.0, wall_seconds=1.0, checkpoints="", ranks=run.recipe.ranks, platform=SOURCE,
        device="the paper's device", cpu_capability=SOURCE, cuda=None, git_revision=None, versions={}, starts=[],
        median_step_ms=_cost(row_of(run), paper / "table2a.csv", "step_time", 1.0),
        peak_memory_mib=_cost(row_of(run), paper / "table2b.csv", "memory", 1024.0),
    ).write(path)  # fmt: skip
    return path


def _cost(row: RowKey, path: Path, quantity: str, unit: float) -> float | None:
    """The baseline's number times one plus the row's percentage."""
    costs = read_costs(path, quantity)
    base = next((cost[quantity] for cost in costs.values() if quantity in cost), None)
    over = costs.get(row, {}).get(f"{quantity}_over_clip")
    return None if base is None or over is None else unit * base * (1 + over / 100)
