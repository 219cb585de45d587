"""A small study whose result files look like those of real runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from amorlip.config.benchmark import Average, Benchmark, ColumnGroup, Task, TaskSource
from amorlip.config.display import FigureSettings, RunLabel, Shown, TableSettings
from amorlip.config.experiment import Experiment
from amorlip.training.records import CorpusRecord, Provenance

TASKS = {
    "openmoji": ("OpenMoji", "classification", "acc1", 0.0006),
    "fluent_3d": ("Fluent 3D", "classification", "acc1", 0.0006),
    "instances": ("Held-out pictures", "classification", "acc1", 0.0006),
    "subgroups": ("Subgroups", "classification", "mean_per_class_recall", 0.0101),
    "sketches": ("Sketches", "classification", "acc1", 0.006),
    "digits": ("Digits", "classification", "acc1", 0.1),
    "retrieval": ("Held-out names", "retrieval", "mean_recall@1", 0.0052),
    "association": ("Association", "association", "jaccard_score", 0.2),
    "styles": ("Worst style", "classification_grouped", "acc_wg", None),
}
TITLES = {
    "clip": "CLIP",
    "siglip": "SigLIP",
    "sogclr": "SogCLR",
    "fastclip": "FastCLIP-v3",
    "amorlip_fdiv": "AmorLIP f-div",
    "amorlip_l2log": "AmorLIP l2-log",
    "neuclip": "NeuCLIP",
}


def demo_benchmark() -> Benchmark:
    """Nine tasks of all four kinds, with groups of columns and averages."""
    tasks = {
        key: Task(
            title=title,
            kind=kind,
            main_metric=metric,
            random_score=chance,
            source=TaskSource(kind="folder", path="nowhere"),
            **({"metadata": ["style"], "group_by": "style"} if metric == "acc_wg" else {}),
        )
        for key, (title, kind, metric, chance) in TASKS.items()
    }
    return Benchmark(
        title="Nine emoji tasks",
        tasks=tasks,
        averages={
            "shifts": Average(title="Avg.", tasks=["openmoji", "fluent_3d", "sketches"]),
            "all": Average(title="Avg. 9"),
        },
        columns=[
            ColumnGroup(title="Unseen style", columns=["openmoji", "fluent_3d", "sketches", "shifts"]),
            ColumnGroup(title="Seen styles", columns=["instances", "subgroups"]),
            ColumnGroup(title="Other", columns=["digits", "retrieval", "association", "styles"]),
            ColumnGroup(title="All", columns=["all"]),
        ],
    )


def _order(run: RunLabel) -> int:
    """A number per method and variant, so that each has its own results."""
    return list(TITLES).index(run.method) + (int(run.variant[1:]) + 1 if run.variant else 0)


@dataclass
class FakeStudy:
    """Writes evaluations and metrics under `folder` in the formats of the stages `evaluate` and `train`."""

    folder: Path
    benchmark: Benchmark = field(default_factory=demo_benchmark)
    methods: tuple[str, ...] = ("clip", "amorlip_l2log")
    variants: tuple[str, ...] = ()
    """Titles of variants of AmorLIP, shown after the methods."""
    title_of_methods: dict[str, str] = field(default_factory=lambda: TITLES)
    title_of_scales: str = "SCALE"
    seeds: tuple[int, ...] = (0,)
    scales: tuple[str, ...] = ("demo",)
    epochs: int = 12
    steps_per_epoch: int = 30
    log_every_steps: int = 5

    @property
    def runs(self) -> list[RunLabel]:
        """Scales × (methods, then variants) × seeds."""
        rows = [(method, None, self.title_of_methods[method]) for method in self.methods]
        rows += [("amorlip_l2log", f"v{number}", title) for number, title in enumerate(self.variants)]
        return [
            RunLabel(
                scale=scale, method=method, variant=variant, seed=seed, title=title,
                scale_title=self.title_of_scales.replace("SCALE", scale.capitalize()),
            )
            for scale in self.scales
            for method, variant, title in rows
            for seed in self.seeds
        ]  # fmt: skip

    def shown(self, experiment: Experiment, **fields) -> Shown:
        """The settings of a table or figure, of all runs; files are written unless `fields` names them."""
        fields = {"runs": self.runs, "benchmark": self.benchmark, **fields}
        if "evaluations" not in fields:
            fields["evaluations"] = self.evaluations()
        if "metrics" not in fields:
            fields["metrics"] = self.metrics() if experiment.kind == "figure" else []
        return {"table": TableSettings, "figure": FigureSettings}[experiment.kind](experiment=experiment, **fields)

    def filled(self, function: str) -> tuple[dict, dict]:
        """Options and settings with which a figure shows all runs."""
        if function == "sweep":
            names = dict.fromkeys(run.variant or run.method for run in self.runs)
            return {"values": {name: (place + 9) / 10 for place, name in enumerate(names)}}, {}
        if function == "reproduction":
            rows = dict.fromkeys((run.scale, run.method, run.variant or "") for run in self.runs)
            lines = [f"{','.join(row)},{task},12,percent" for row in rows for task in self.benchmark.tasks]
            path = self.folder / "published.csv"
            path.write_text("\n".join(["scale,method,variant,column,value,unit", *lines]))
            return {}, {"published": path}
        if function == "accuracy_over_cost":
            return {}, {"provenance": [self.provenance(run) for run in self.runs]}
        return {}, {}

    def provenance(self, run: RunLabel, device: str = "H100", ranks: int = 1, **fields) -> Path:
        """Write one provenance.json."""
        path = self.folder / "runs" / run.scale / f"{run.method}-{run.variant}-{run.seed}" / "provenance.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        Provenance(
            scale=run.scale, method=run.method, variant=run.variant, seed=run.seed, steps=1, samples_seen=1,
            corpus=CorpusRecord(name="c", digest="0", pairs=1), skipped_steps=0, training_seconds=1, wall_seconds=1,
            checkpoints="x", ranks=ranks, platform="p", device=device, cpu_capability="AVX2", cuda=None,
            git_revision=None, versions={}, starts=[], **fields,
        ).write(path)  # fmt: skip
        return path

    def evaluation(self, run: RunLabel, task: str, value: float | None) -> Path:
        """Write one evaluation."""
        name = "-".join(filter(None, (run.method, run.variant, f"seed{run.seed}")))
        path = self.folder / "evaluations" / run.scale / name / f"{task}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        metric = self.benchmark.tasks[task].main_metric
        content = {
            "task": task,
            "run": {"scale": run.scale, "method": run.method, "variant": run.variant, "seed": run.seed},
            "main_metric": metric,
            "value": value,
            "metrics": {} if value is None else {metric: value},
            "interval95": None,
            "samples": 1755,
            "weights_sha256": "0" * 64,
            "versions": {"amorlip": "0"},
        }
        path.write_text(json.dumps(content))
        return path

    def evaluations(self) -> list[Path]:
        """One file per run and task; better methods come later in `TITLES`."""
        paths = []
        for run in self.runs:
            rng = np.random.default_rng([_order(run), run.seed, len(run.scale)])
            skill = 1 + 0.06 * _order(run)
            for task in self.benchmark.tasks:
                base = 0.03 + 0.3 * np.random.default_rng(list(self.benchmark.tasks).index(task)).random()
                value = base * skill * (1 + 0.05 * rng.normal())
                paths.append(self.evaluation(run, task, float(min(value, 1))))
        return paths

    def metrics(self) -> list[Path]:
        """One metrics.jsonl per run."""
        return [self._metrics_of(run) for run in self.runs]

    def _metrics_of(self, run: RunLabel) -> Path:
        name = "-".join(filter(None, (run.method, run.variant, f"seed{run.seed}")))
        path = self.folder / "runs" / run.scale / name / "metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        order = _order(run)
        rng = np.random.default_rng([order, run.seed, 7])
        steps = self.epochs * self.steps_per_epoch
        lines = [
            {"kind": "run", "scale": run.scale, "method": run.method, "variant": run.variant, "seed": run.seed,
             "steps_per_epoch": self.steps_per_epoch, "epochs": self.epochs, "samples": 7814, "parameters": 1234567}
        ]  # fmt: skip
        for step in range(1, steps + 1):
            done = step / steps
            if step % self.log_every_steps == 0:
                line = {
                    "kind": "step", "step": step, "epoch": (step - 1) // self.steps_per_epoch + 1,
                    "samples_seen": 256 * step, "lr": 1e-3 * (1 - done),
                    "loss": (order + 1) * (2 + 3 * np.exp(-4 * done)) + 0.1 * rng.normal() - (3 * order),
                    "infonce": 2 + 0.1 * order + 3 * np.exp(-4 * done),
                    "logit_scale": 14.29 * (1 + (0.5 + 0.2 * order) * done), "grad_norm": 1.0, "skipped_steps": 0,
                    "samples_per_s": 700.0,
                }  # fmt: skip
                if run.method.startswith("amorlip"):
                    within = (step - 1) % self.steps_per_epoch / self.steps_per_epoch
                    unexplained = (0.02 + 0.6 * np.exp(-6 * within)) * np.exp(0.1 * rng.normal()) * (2 - done)
                    line["log_z_unexplained"] = unexplained
                lines.append(line)
            if step % self.steps_per_epoch == 0:
                value = (0.03 + 0.005 * order) * (1 - np.exp(-3 * done)) * (1 + 0.04 * rng.normal())
                tasks = {"openmoji": {"acc1": value, "acc5": 3.3 * value}}
                epoch = step // self.steps_per_epoch
                lines.append({"kind": "epoch", "epoch": epoch, "step": step, "seconds": 12.0, "tasks": tasks})
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path


@pytest.fixture
def study(tmp_path: Path):
    """Makes studies with the given fields in this test's folder."""
    return lambda **fields: FakeStudy(**{"folder": tmp_path, **fields})


@pytest.fixture
def table_experiment() -> Experiment:
    """The main table."""
    return Experiment(kind="table", function="comparison", title="Zero-shot results", caption="What it shows.")
