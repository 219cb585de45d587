"""`amorlip plan`: what a study will need, before anything is submitted.

Jobs are those of the workflow for a results folder as it is; tests compare them with Snakemake's dry run. Hours of a
rule are its time limit, where nothing was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.config.corpus_pairs import known
from amorlip.monitor.jobs import Job, jobs
from amorlip.monitor.queue import partitions
from amorlip.monitor.speed import Speeds
from amorlip.monitor.text import table
from amorlip.study import Study

PICTURE_BYTES = 47_784
"""Mean size of a stored picture in `amorlip bench loader` (341 x 256 pixels, quality 95)."""
PARAMETERS = {"RN50": 102_007_137, "ViT-B-32": 151_277_313, "demo": 9_547_637}
"""Architecture → parameters, which PyTorch would have to be loaded to count."""
BYTES_PER_PARAMETER = 4 * (1 + 2 * 3)
"""Weights, and two checkpoints of the weights and AdamW's two moments, in float32."""
HEADS = ["rule", "of", "jobs", "left", "CPUs", "GPUs", "limit", "hours", "GPU-h", "CPU-h", "GB", "hours from"]


@dataclass(frozen=True)
class Row:
    """Jobs of one rule that ask for the same; hours and disk are of those that are left."""

    rule: str
    of: str
    """The scale, corpus or part of the study."""
    jobs: list[Job]
    hours: float
    """Of one job: measured, or its limit."""
    measured: str
    """What was measured; empty for a limit."""
    disk_gb: float | None
    """None: not known."""

    @property
    def name(self) -> str:
        """The rule, and for what."""
        return f"{self.rule} {self.of}".rstrip()

    @property
    def left(self) -> int:
        """Jobs whose result is missing."""
        return sum(not job.done for job in self.jobs)


def rows(study: Study, results: Path) -> list[Row]:
    """The rules' jobs, in the order in which they run."""
    speeds = Speeds(study, results)
    groups: dict[tuple[str, str, int], list[Job]] = {}
    for job in jobs(study, results):
        groups.setdefault((job.rule, job.of, job.limit_min), []).append(job)
    return [_row(study, results, speeds, members) for members in groups.values()]


def _row(study: Study, results: Path, speeds: Speeds, members: list[Job]) -> Row:
    first = members[0]
    found = [speeds.hours(job) for job in members] if first.rule == "train" else []
    measured = [hours for hours in found if hours is not None]
    is_measured = len(measured) == len(members)
    sizes = [_disk_gb(study, results, job) for job in members if not job.done]
    known_sizes = [size for size in sizes if size is not None]
    return Row(
        first.rule,
        first.of,
        members,
        max(measured) if is_measured else first.limit_min / 60,
        speeds.source if is_measured else "",
        sum(known_sizes) if len(known_sizes) == len(sizes) else None,
    )


def _disk_gb(study: Study, results: Path, job: Job) -> float | None:
    """What a job leaves on the disk [GB]; small files count as nothing."""
    if job.run is not None:
        parameters = PARAMETERS.get(job.run.recipe.model)
        return None if parameters is None else parameters * BYTES_PER_PARAMETER / 1e9
    if job.rule == "download" and job.split == "train":
        corpus = study.corpora[job.of]
        pairs = known(job.of, corpus, results / "corpora")
        return None if pairs is None or corpus.is_rendered else pairs.pairs * PICTURE_BYTES / 1e9
    return None if job.rule in ("download", "tasks", "weights", "artwork") else 0.0


def longest_chain_h(found: list[Row]) -> float:
    """Hours to the report if no job waits: the rules after each other, each with its slowest job."""
    slowest: dict[str, float] = {}
    for row in found:
        if row.left:
            slowest[row.rule] = max(slowest.get(row.rule, 0.0), row.hours)
    return sum(slowest.values())


# ---------------------------------------------------------------- as text


def text(study: Study, results: Path) -> str:
    """The plan as lines: a table of the rules, totals, and jobs that are longer than a partition's limit."""
    found = rows(study, results)
    lines = table(HEADS, [_cells(row) for row in found], right="jobs left CPUs GPUs limit hours GPU-h CPU-h GB")
    left = sum(row.left for row in found)
    gpu, cpu = (sum(_total(row, per_job) for row in found) for per_job in ("gpus", "cpus"))
    disk = sum(row.disk_gb or 0 for row in found)
    unknown = sorted({row.rule for row in found if row.disk_gb is None})
    more = f" and what is not known: {', '.join(unknown)}" if unknown else ""
    totals = [
        f"{study.selection.name}: {left} of {sum(len(row.jobs) for row in found)} jobs are left: {gpu:,.0f} GPU-hours,"
        f" {cpu:,.0f} CPU-hours, {disk:,.0f} GB{more}",
        f"longest chain of jobs: {longest_chain_h(found):,.1f} hours, without waiting in the queue",
    ]
    if any(row.left and not row.measured for row in found):
        totals.append("* not measured: the time limit, so the true hours are fewer")
    return "\n".join([*lines, "", *totals, *_limits(found)])


def _total(row: Row, per_job: str) -> float:
    return row.left * row.hours * getattr(row.jobs[0], per_job)


def _cells(row: Row) -> list[str]:
    job = row.jobs[0]
    hours = f"{row.hours:.2f}" + ("" if row.measured else "*")
    numbers = [f"{_total(row, 'gpus'):,.1f}", f"{_total(row, 'cpus'):,.1f}"]
    disk = "?" if row.disk_gb is None else f"{row.disk_gb:,.1f}"
    limit = f"{job.limit_min / 60:.2f}"
    counts = [str(len(row.jobs)), str(row.left), str(job.cpus), str(job.gpus)]
    return [row.rule, row.of, *counts, limit, hours, *numbers, disk, row.measured or "limit"]


def _limits(found: list[Row]) -> list[str]:
    """Jobs that are longer than a partition allows, with what Slurm would say; why the limits are not known."""
    try:
        known_limits = partitions() or {}
    except AmorlipError as error:
        return [str(error)]
    lines = []
    for row in found:
        minutes = row.jobs[0].limit_min
        short = [name for name, limit in known_limits.items() if limit < minutes] if row.left else []
        if short and len(short) == len(known_limits):
            lines.append(
                f"{row.name}: its limit of {minutes} min is longer than that of every partition: the job would"
                " wait forever (PartitionTimeLimit); lower runtime_min or ask for a longer partition"
            )
        elif short:
            lines.append(f"{row.name}: {minutes} min are too long for the partitions {', '.join(short)}")
    return lines
