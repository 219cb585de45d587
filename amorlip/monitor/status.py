"""`amorlip status`: where every run of a study is, from its files and Slurm's queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from amorlip.common import files
from amorlip.common.errors import AmorlipError
from amorlip.config.run import Run
from amorlip.monitor import queue, snakemakes
from amorlip.monitor.queue import Job
from amorlip.monitor.runs import WEIGHTS, Progress, progress
from amorlip.monitor.text import table
from amorlip.study import Study

HEADS = ["run", "state", "epoch", "step", "pairs/s", "ETA", "loss", "last metric", "tasks", "job"]


@dataclass(frozen=True)
class RunStatus:
    """A run, how far it is, and what it waits for."""

    run: Run
    state: str
    """done, training, starting, waiting, stopped, failed or not started."""
    progress: Progress | None
    evaluated: int
    """Tasks with a result."""
    job: Job | None
    note: str = ""
    """What its state means, or its last error."""


@dataclass(frozen=True)
class Status:
    """A study's runs, and jobs in the queue that no Snakemake waits for."""

    study: Study
    runs: list[RunStatus]
    orphans: list[tuple[Job, str]] = field(default_factory=list)
    """Job, and why its Snakemake is taken for gone."""
    other_jobs: list[Job] = field(default_factory=list)
    """Jobs of this folder that train no run."""
    trouble: list[str] = field(default_factory=list)
    """Why the queue is not known."""


def status(study: Study, results: Path, *, ask_slurm: bool = True) -> Status:
    """Where a study in the folder `results` of the working directory is.

    A damaged file is a note on its run, which hides no other run. A Slurm that does not answer is no error either: runs
    need none.
    """
    here, trouble, queued = Path.cwd(), [], []
    try:
        queued = (queue.jobs() if ask_slurm else None) or []
    except AmorlipError as error:
        trouble = [str(error)]
    jobs = [job for job in queued if job.folder == here and job.comment.startswith("rule_")]
    runs = [_status(study, run, results / study.selection.name, jobs) for _, run in study.runs]
    gone = snakemakes.gone((job.name for job in jobs), here)
    orphans = [(job, why) for job in jobs if (why := gone[job.name])]
    shown = {entry.job.id for entry in runs if entry.job}
    return Status(study, runs, orphans, [job for job in jobs if job.id not in shown], trouble)


def _status(study: Study, run: Run, folder: Path, jobs: Sequence[Job]) -> RunStatus:
    output = folder / "runs" / run.scale / run.name
    try:
        found, damage = progress(output), ""
    except AmorlipError as error:
        found, damage = None, str(error)
    mine = [job for job in jobs if job.is_of("train", run.scale, run.name)]
    # one that runs first: a second job of the same run leaves or waits
    job = next(iter(sorted(mine, key=lambda job: job.state != "RUNNING")), None)
    results = folder / "evaluations" / run.scale / run.name
    evaluated = sum((results / f"{task}.json").is_file() for task in study.benchmark.tasks)
    state, note = _state(output, folder / "logs" / "train" / run.scale / f"{run.name}.log", found, job)
    return RunStatus(run, state, found, evaluated, job, "; ".join(filter(None, (note, damage))))


def _state(output: Path, log: Path, found: Progress | None, job: Job | None) -> tuple[str, str]:
    process = files.lock_owner(output)
    if process is not None:
        return "training", "" if job else f"process {process}"
    if (output / WEIGHTS).is_file():
        return "done", ""
    if job is not None:
        return ("starting", "") if job.state == "RUNNING" else ("waiting", job.explanation or job.state)
    if error := _error(log):
        return "failed", error
    return ("stopped", "it resumes from its checkpoint") if found else ("not started", "")


def _error(log: Path) -> str | None:
    """The line with which a job ended, if that is an error of `amorlip train`."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return lines[-1] if lines and lines[-1].startswith("amorlip train: ") else None


# ---------------------------------------------------------------- as text


def text(found: Status) -> str:
    """The status as lines: a table of the runs, then what needs attention."""
    rows = [_row(entry, len(found.study.benchmark.tasks)) for entry in found.runs]
    lines = table(HEADS, rows, right="epoch step pairs/s ETA loss tasks")
    notes = [f"{_name(entry)}: {entry.note}" for entry in found.runs if entry.note]
    others = [f"job {job.id} ({job.comment}): {job.explanation or job.state}" for job in found.other_jobs]
    orphans = [
        f"orphan: job {job.id} ({job.comment}): {why}; the job goes on by itself; to end it: scancel {job.id}"
        for job, why in found.orphans
    ]
    done = sum(entry.state == "done" for entry in found.runs)
    heading = f"{found.study.selection.name}: {done} of {len(found.runs)} runs done"
    below = [*notes, *others, *orphans, *found.trouble]
    return "\n".join([heading, "", *lines, *([""] if below else []), *below])


def _name(entry: RunStatus) -> str:
    return f"{entry.run.scale}/{entry.run.name}"


def _row(entry: RunStatus, tasks: int) -> list[str]:
    cells = [_name(entry), entry.state]
    known = entry.progress
    if known is None:
        cells += ["", "", "", "", "", ""]
    else:
        step, metric = known.step, _last_metric(known)
        training = entry.state == "training"
        cells += [
            f"{step.epoch if step else 0}/{known.run.epochs}",
            f"{step.step if step else 0}/{known.steps}",
            f"{step.samples_per_s:.0f}" if step else "",
            str(timedelta(seconds=round(known.eta_s))) if training and known.eta_s is not None else "",
            f"{step.loss:.4g}" if step and step.loss is not None else "",
            metric,
        ]
    job = f"{entry.job.id} {entry.job.partition}" if entry.job else ""
    return [*cells, f"{entry.evaluated}/{tasks}", job]


def _last_metric(known: Progress) -> str:
    """The first metric of the first task of the last epoch."""
    for task, metrics in (known.epoch.tasks if known.epoch else {}).items():
        for metric, value in metrics.items():
            return f"{task} {metric} {'nan' if value is None else f'{value:.4g}'}"
    return ""
