"""Counts starts of a run that came no further, so that a run which a cluster starts again and again stops in the end.

How often a run is started does not matter: one that is longer than its jobs' time limits is started many times.
"""

from __future__ import annotations

from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.common.records import JsonRecord

RECORD = "starts.json"
MOST = 2
"""Starts from one step. After so many without a new checkpoint, the run is not started again."""


class Starts(JsonRecord):
    """The latest starts of a run, all from the same step."""

    step: int
    """Steps that were done when they began."""
    jobs: list[str]
    """The ids of their Slurm jobs."""


def note(checkpoints: Path, step: int, job: str) -> None:
    """Record that the Slurm job `job` starts from the checkpoint of `step` steps (0: from the beginning).

    Raises AmorlipError if two starts from this checkpoint have ended without a new one.
    """
    path = checkpoints / RECORD
    before = Starts.read(path) if path.exists() else Starts(step=step, jobs=[])
    jobs = before.jobs if before.step == step else []
    if len(jobs) >= MOST:
        raise AmorlipError(
            f"no progress: the last {len(jobs)} starts (Slurm jobs {', '.join(jobs)}) ended without a checkpoint after "
            f"step {step}; their output is in {checkpoints.parent.parent / 'train.log'}; delete {path} to try again"
        )
    Starts(step=step, jobs=[*jobs, job]).write(path)
