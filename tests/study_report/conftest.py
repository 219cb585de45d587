"""A small study that looks finished: two runs, a task with pictures and one without, a table, three figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from amorlip import stage_settings
from amorlip.common import files
from amorlip.config.load import merge
from amorlip.config.locations import Layer
from amorlip.config.run import Run, write_run
from amorlip.emoji import task_sets
from amorlip.evaluation.record import Evaluation, RunIdentity
from amorlip.stages import table
from amorlip.study import Study, load_study
from amorlip.tasks.record import TaskRecord
from amorlip.training import records
from amorlip.training.records import CorpusRecord, EpochRecord, Provenance, RunRecord, Start, StepRecord
from tests.helpers import REPOSITORY
from tests.helpers.miniatures import build_mini_artwork, picture, write_split

NAMES = 43
"""Pictures and classes of the task set `openmoji` in miniature."""
VERSIONS = {"python": "3.11.7", "torch": "2.14.0"}
REVISION = "0123456789abcdef"
CHANGES: dict[str, Any] = {
    "scales": ["demo"],
    "overrides": {"benchmarks": {"demo": {"tasks": {"openmoji": {"samples": NAMES, "classes": NAMES}}}}},
}


class Made:
    """The study's folder, which is the working directory while a test uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"

    def study(self, **changes: Any) -> Study:
        """The study, with keys of its top-level configuration changed."""
        selection = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
        selection = merge(merge(selection, CHANGES), changes)
        return load_study(selection, REPOSITORY / "config", layers=[Layer(selection, "my.yaml")])

    def build(self) -> None:
        """Write every file that the report reads."""
        study, demo = self.study(), self.results / "demo"
        corpus = self.results / "corpora/demo"
        artwork = build_mini_artwork(corpus / "artwork")
        write_split(corpus / "train", [list(range(8))])
        for name in ("urls.parquet", "artwork/pictures.parquet"):
            (corpus / name).touch()
        for key, task in study.benchmark.tasks.items():
            source = task.source.model_dump(mode="json", exclude_none=True)
            TaskRecord(source=source, files={"test/0.tar": "0"}).write(self.results / "tasks" / key / "task.json")
        task_sets.build_task("openmoji", artwork, self.results / "tasks/openmoji")
        for number, (_, run) in enumerate(study.runs):
            self._run(study, run, number)
        files.write_text(demo / "config.yaml", yaml.safe_dump(study.selection.model_dump()))
        self._table(study)
        for name in ("accuracy_over_epochs", "difference_to_clip", "training_curves"):
            files.write_bytes(demo / "figures" / f"{name}.png", picture(0, side=64))

    def _run(self, study: Study, run: Run, number: int) -> None:
        folder = self.results / "demo/runs" / run.scale / run.name
        evaluations = self.results / "demo/evaluations" / run.scale / run.name
        for key, task in study.benchmark.tasks.items():
            value = (10 + number + len(key)) / 100
            metrics = {task.main_metric: value, "further": 0.5}
            identity = RunIdentity(scale=run.scale, method=run.method, variant=run.variant, seed=run.seed)
            more: dict[str, Any] = {}
            if key == "openmoji":
                more["per_class"] = {"count": [1] * NAMES, "correct": [int(i % 3 == number) for i in range(NAMES)]}
            if key == "styles":
                more["groups"] = {"flat": {"acc1": 0.25, "acc5": 0.5, "count": 4}}
            Evaluation(
                task=key, run=identity, main_metric=task.main_metric, value=value, metrics=metrics, samples=NAMES,
                interval95=[value - 0.01, value + 0.01], **more,
            ).write(evaluations / f"{key}.json")  # fmt: skip
        files.write_json(evaluations / ".evaluated-1-of-1.json", {"files": []})
        right = [i % 3 == number for i in range(NAMES)]
        rows = {"key": [f"s{i:07d}" for i in range(NAMES)], "label": list(range(NAMES)), "correct": right}
        rows["prediction"] = [i if correct else (i + 1) % NAMES for i, correct in enumerate(right)]
        pd.DataFrame(rows).to_parquet(evaluations / "openmoji.parquet")
        files.write_text(folder / "metrics.jsonl", "".join(map(records.line, _metrics(run))))
        _provenance(run).write(folder / "provenance.json")
        write_run(run, folder)
        (folder / "model.safetensors").touch()
        text = f"12:00:00 demo/{run.name}: done, weights in {self.folder}/results/model.safetensors\n"
        files.write_text(self.results / "demo/logs/train" / run.scale / f"{run.name}.log", text)

    def _table(self, study: Study) -> None:
        demo, runs = self.results / "demo", [run for _, run in study.runs]
        given = [str(path) for run in runs for path in (demo / "evaluations/demo" / run.name).glob("[a-z]*.json")]
        published = str(REPOSITORY / "config/paper/table1.csv")
        settings = stage_settings.table(
            study, "table1", evaluations=given, metrics=[], manifests=[], published=published, later_work=None
        )
        outputs = [demo / f"tables/table1.{ending}" for ending in ("csv", "md", "tex", "html")]
        table.run(settings, "table1", outputs)


def _metrics(run: Run) -> list[records.Record]:
    identity = {"scale": run.scale, "method": run.method, "variant": run.variant, "seed": run.seed}
    first = RunRecord(**identity, steps_per_epoch=5, epochs=2, samples=8, parameters=1)
    steps = [
        StepRecord.model_validate(
            {"step": step, "epoch": 1 + step // 6, "samples_seen": 8 * step, "lr": 1e-3, "loss": 3.0 - step / 5,
             "grad_norm": None if step == 4 else 1.0, "skipped_steps": 0, "samples_per_s": 100.0, "logit_scale": 14.0}
        )
        for step in range(1, 11)
    ]  # fmt: skip
    epochs = [
        EpochRecord(epoch=epoch, step=5 * epoch, seconds=1.0, tasks={"openmoji": {"acc1": 0.1 * epoch}})
        for epoch in (1, 2)
    ]
    return [first, *steps, *epochs]


def _provenance(run: Run) -> Provenance:
    machine = {"platform": "Linux", "device": "cpu", "cpu_capability": "AVX2", "cuda": None, "versions": VERSIONS}
    start = Start(from_step=1, git_revision=REVISION, source_digest="ab", **machine)
    return Provenance(
        scale=run.scale, method=run.method, variant=run.variant, seed=run.seed,
        corpus=CorpusRecord(name="demo", digest="cd" * 32, pairs=8), steps=10, samples_seen=80, skipped_steps=0,
        training_seconds=3600.0, wall_seconds=4000.0, peak_memory_mib=512.0, median_step_ms=25.0, checkpoints="ef",
        ranks=1, git_revision=REVISION, starts=[start], **machine,
    )  # fmt: skip


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The study, made once. Tests that change it copy it."""
    made = Made(tmp_path_factory.mktemp("study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.folder)
        made.build()
    return made


@pytest.fixture
def made(built: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The study, in the working directory; not to be changed."""
    monkeypatch.chdir(built.folder)
    return built


@pytest.fixture
def copied(built: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A copy of the study, in the working directory."""
    shutil.copytree(built.folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Made(tmp_path / "copy")


def snakemake_record(output: str, command: str) -> dict[str, Any]:
    """What Snakemake notes of an output; in .snakemake/metadata/."""
    return json.loads(json.dumps({"rule": "train", "shellcmd": command, "starttime": 1e9, "endtime": 1e9 + 90}))
