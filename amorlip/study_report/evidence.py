"""What a study has so far: its runs with their records, evaluations and logs, and every other job of the workflow.

A damaged file costs its own part of the report and is named there; a report of a broken study is needed most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from amorlip import corpus_jobs
from amorlip.common.errors import AmorlipError
from amorlip.common.limits import MOST_TABLE_BYTES
from amorlip.config.resolved import Resolved
from amorlip.config.run import Run
from amorlip.config.selection import EXTERNAL
from amorlip.corpus.records import MANIFEST, Manifest
from amorlip.evaluation.aggregate import averages
from amorlip.evaluation.record import Evaluation
from amorlip.monitor.jobs import Job, jobs
from amorlip.monitor.runs import METRICS, WEIGHTS
from amorlip.monitor.status import RunStatus, status
from amorlip.study import Study
from amorlip.tasks.record import RECORD, TaskRecord
from amorlip.training import records
from amorlip.training.records import LOG, Provenance, Record

T = TypeVar("T")
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Model:
    """A run of the study, or weights that it did not train, with what is known of it."""

    scale: str
    name: str
    title: str
    folder: Path
    """The run's folder."""
    results: Path
    """Folder of its evaluations."""
    log: Path
    evaluations: Mapping[str, Evaluation]
    """Task → result, in the benchmark's order."""
    averages: Mapping[str, float | None]
    """Average → value."""
    status: RunStatus | None = None
    """None for weights that were not trained here, as all that follows."""
    resolved: Resolved | None = None
    provenance: Provenance | None = None
    metrics: list[Record] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    """Files that could not be read."""

    @property
    def id(self) -> str:
        """Its anchor in the page."""
        return f"run/{self.scale}/{self.name}"

    @property
    def run(self) -> Run | None:
        """The resolved run."""
        return self.status.run if self.status else None

    @property
    def row(self) -> tuple[str, str, str]:
        """Scale, method and variant: its row in tables."""
        return (self.scale, self.run.method, self.run.variant or "") if self.run else (self.scale, self.name, "")


@dataclass(frozen=True)
class JobState:
    """A job of the workflow, and what became of it."""

    job: Job
    error: str
    """The line with which it ended, if it failed."""
    log: Path

    @property
    def name(self) -> str:
        """Its rule, and for what."""
        output = self.job.output
        what = output.stem if self.job.rule in ("table", "figure") else output.parent.name
        return " ".join(dict.fromkeys(filter(None, (self.job.rule, self.job.of, what))))

    @property
    def state(self) -> str:
        """done, failed, or not done."""
        return "done" if self.job.done else "failed" if self.error else "not done"


@dataclass(frozen=True)
class Evidence:
    """Everything that a report shows, apart from pictures."""

    study: Study
    results: Path
    """Folder of all studies."""
    models: list[Model]
    jobs: list[JobState]
    """Every job of the workflow but those that make reports."""
    manifests: Mapping[tuple[str, str], Manifest]
    """(corpus, split) → its manifest, of those that are there."""
    tasks: Mapping[str, TaskRecord]
    """Task → its record, of those that are there."""
    trouble: list[str]

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.results / self.study.selection.name

    @cached_property
    def unfinished(self) -> list[JobState]:
        """Jobs whose result is not there."""
        return [entry for entry in self.jobs if entry.state != "done"]


REPORTS = ("report", "study_report")


def gather(study: Study, results: Path) -> Evidence:
    """Read what there is of a study in the folder `results`."""
    trouble: list[str] = []
    folders = [results / study.selection.name / "runs" / run.scale / run.name for _, run in study.runs]
    # a finished study has no jobs, and Slurm's client asks the network where its controller is
    found = status(study, results, ask_slurm=not all((folder / WEIGHTS).is_file() for folder in folders))
    trouble += found.trouble
    titles = {(run.scale, run.name): title for title, run in study.runs}
    resolved = _resolved(study)
    models = [
        _run(study, entry, titles[entry.run.scale, entry.run.name], resolved[_key(entry.run)], results)
        for entry in found.runs
    ]
    models += [_external(study, name, results) for name in study.selection.external_models]
    manifests = {
        (name, split): manifest
        for name, split in corpus_jobs.splits(study)
        if (manifest := read_or_note(Manifest.read, results / "corpora" / name / split / MANIFEST, trouble)) is not None
    }
    tasks = {
        key: record
        for key in study.benchmark.tasks
        if (record := read_or_note(TaskRecord.read, results / "tasks" / key / RECORD, trouble)) is not None
    }
    made = [job for job in jobs(study, results) if job.rule not in REPORTS]
    every = [job_state(job, results, study.selection.name) for job in made]
    return Evidence(study, results, models, every, manifests, tasks, trouble)


def _key(run: Run) -> tuple[str, str, str | None]:
    return run.scale, run.method, run.variant


def _resolved(study: Study) -> dict[tuple[str, str, str | None], Resolved]:
    rows = [row for name in study.experiments for row in study.rows(name)]
    return {(scale, method, variant): resolved for scale, method, variant, resolved in reversed(rows)}


def read_or_note(read: Callable[[Path], T], path: Path, trouble: list[str]) -> T | None:
    """What `read` makes of a file; None if there is none, or if it cannot be read, which is noted."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (AmorlipError, OSError) as error:
        trouble.append(str(error))
        return None


def _run(study: Study, entry: RunStatus, title: str, resolved: Resolved, results: Path) -> Model:
    run, study_folder, trouble = entry.run, results / study.selection.name, []
    folder, place = study_folder / "runs" / run.scale / run.name, Path(run.scale) / run.name
    metrics = [path for path in (folder / METRICS, *folder.glob(f"checkpoints/*/{METRICS}")) if path.is_file()]
    newest = max(metrics, key=lambda path: path.stat().st_mtime, default=folder / METRICS)
    evaluations, means = _evaluations(study, study_folder / "evaluations" / place, trouble)
    log = study_folder / "logs" / "train" / run.scale / f"{run.name}.log"
    return Model(
        scale=run.scale,
        name=run.name,
        title=title,
        folder=folder,
        results=study_folder / "evaluations" / place,
        log=log if log.is_file() else folder / LOG,
        evaluations=evaluations,
        averages=means,
        status=entry,
        resolved=resolved,
        provenance=read_or_note(Provenance.read, folder / PROVENANCE, trouble),
        metrics=read_or_note(records.read_unfinished, newest, trouble) or [],
        trouble=trouble,
    )


def _external(study: Study, name: str, results: Path) -> Model:
    trouble: list[str] = []
    folder = results / study.selection.name
    place = folder / "evaluations" / EXTERNAL / name
    evaluations, means = _evaluations(study, place, trouble)
    return Model(
        scale=EXTERNAL,
        name=name,
        title=study.selection.external_models[name].title,
        folder=place,
        results=place,
        log=folder / "logs" / "evaluate" / EXTERNAL / name / "1-of-1.log",
        evaluations=evaluations,
        averages=means,
        trouble=trouble,
    )


def _evaluations(
    study: Study, folder: Path, trouble: list[str]
) -> tuple[dict[str, Evaluation], dict[str, float | None]]:
    found = {key: read_or_note(Evaluation.read, folder / f"{key}.json", trouble) for key in study.benchmark.tasks}
    known = {key: evaluation for key, evaluation in found.items() if evaluation is not None}
    return known, averages(study.benchmark, {key: evaluation.value for key, evaluation in known.items()})


# ---------------------------------------------------------------- jobs and logs


def job_state(job: Job, results: Path, study: str) -> JobState:
    """What became of a job. A log that is overwritten by each try tells the error of the last one."""
    log = log_of(job, results, study)
    return JobState(job, "" if job.done else _error(log), log)


def _error(log: Path) -> str:
    """The last line of a log, if it is an error of a command of ours."""
    last = "".join(tail(log, 1))
    return last if last.startswith("amorlip ") else ""


def log_of(job: Job, results: Path, study: str) -> Path:
    """The log of a job, by the path of its output; see workflow/rules/."""
    output, logs = job.output, results / study / "logs"
    match job.rule:
        case "artwork" | "urls":
            return results / "corpora" / job.of / "logs" / f"{job.rule}.log"
        case "download" | "shards":
            return results / "corpora" / job.of / "logs" / f"{job.rule}-{job.split}.log"
        case "download_part":  # which part is not known: the log of one that failed
            parts = sorted((results / "corpora" / job.of / "logs").glob(f"download-{job.split}-*-of-*.log"))
            return next((log for log in parts if _error(log)), output.parent / "parts")
        case "tasks":
            return results / "tasks" / "logs" / f"{output.parent.name}.log"
        case "train":
            return logs / "train" / job.of / f"{output.parent.name}.log"
        case "evaluate" | "evaluate_external":
            share = output.stem.removeprefix(".evaluated-")
            return logs / "evaluate" / job.of / output.parent.name / f"{share}.log"
        case "table" | "figure":
            return logs / job.rule / f"{output.stem}.log"
    return logs / f"{job.rule}.log"


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - min(MOST_TABLE_BYTES, 1000 * (lines + 1))))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
