"""The workflow's jobs for a study, counted without Snakemake, which needs seconds to minutes for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amorlip import corpus_jobs, evaluation_jobs
from amorlip.config.run import Run
from amorlip.config.selection import EXTERNAL
from amorlip.corpus import division
from amorlip.study import Study

FIXED = {
    "artwork": (2, 60),
    "urls": (1, 60),
    "shards": (2, 480),
    "tasks": (1, 240),
    "table": (1, 10),
    "figure": (1, 10),
    "study_config": (1, 10),
    "report": (1, 10),
    "study_report": (1, 10),
}
"""Rule → CPUs and time limit [min] that its file in workflow/rules/ asks for, whatever the study."""
DOWNLOAD_MIN = 2880
"""Time limit of a whole download [min]; a part of several has its share, but not less than the next line."""
PART_MIN = 240


@dataclass(frozen=True)
class Job:
    """A job of the workflow."""

    rule: str
    of: str
    """The scale or corpus; empty for others."""
    output: Path
    """A file that it writes."""
    cpus: int
    limit_min: int
    """Time limit [min]."""
    gpus: int = 0
    run: Run | None = None
    """The run that it trains."""
    split: str | None = None
    """The split that it downloads or checks."""

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return self.output.is_file()


def jobs(study: Study, results: Path) -> list[Job]:
    """Every job of a study in the folder `results`, in the order of the rules."""
    folder = results / study.selection.name
    return [
        *_corpora(study, results / "corpora"),
        *(_fixed("tasks", results / "tasks" / task / "task.json") for task in study.benchmark.tasks),
        *_training(study, folder / "runs"),
        *_evaluations(study, folder / "evaluations"),
        *_shown(study, folder),
        _fixed("study_config", folder / "config.yaml"),
        _fixed("report", folder / "report.html"),
        _fixed("study_report", folder / "study.html"),
    ]


def _fixed(rule: str, output: Path, of: str = "", split: str | None = None) -> Job:
    cpus, limit_min = FIXED[rule]
    return Job(rule, of, output, cpus, limit_min, split=split)


def _corpora(study: Study, corpora: Path) -> Iterator[Job]:
    for name in corpus_jobs.rendered(study):
        yield _fixed("artwork", corpora / name / "artwork" / "pictures.parquet", name)
    for name in corpus_jobs.listed(study):
        yield _fixed("urls", corpora / name / "urls.parquet", name)
    for name, split in corpus_jobs.splits(study):
        yield from _downloads(study, corpora / name / split, name, split)
        yield _fixed("shards", corpora / name / split / "manifest.json", name, split)


def _downloads(study: Study, folder: Path, name: str, split: str) -> Iterator[Job]:
    settings, output = study.corpora[name].download, folder / "download.json"
    divided = split == "train" and study.corpora[name].source != "mirror"
    parts = division.parts_in(folder, settings.jobs) if divided else 1
    limit = max(PART_MIN, DOWNLOAD_MIN // parts)
    for _ in range(parts if parts > 1 else 0):  # a part's own record is temporary
        yield Job("download_part", name, output, settings.processes, limit, split=split)
    yield Job("download", name, output, 1 if parts > 1 else settings.processes, DOWNLOAD_MIN, split=split)


def _training(study: Study, runs: Path) -> Iterator[Job]:
    for _, run in study.runs:
        output = runs / run.scale / run.name / "model.safetensors"
        asked = study.scales[run.scale].train_resources
        limit, nodes = asked.runtime_min, asked.nodes
        yield Job("train", run.scale, output, nodes * asked.cpus, limit, nodes * asked.gpus, run)


def _evaluations(study: Study, evaluations: Path) -> Iterator[Job]:
    for job in evaluation_jobs.jobs(study):
        rule = "evaluate_external" if job.scale == EXTERNAL else "evaluate"
        output = evaluations / job.scale / job.model / evaluation_jobs.record_name(job.share)
        yield Job(rule, job.scale, output, job.resources.cpus, job.runtime_min, job.resources.gpus)


def _shown(study: Study, folder: Path) -> Iterator[Job]:
    for name, experiment in study.experiments.items():
        ending = {"table": "csv", "figure": "png"}[experiment.kind]
        yield _fixed(experiment.kind, folder / f"{experiment.kind}s" / f"{name}.{ending}")
