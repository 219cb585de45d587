"""What Slurm's `squeue` and `sinfo` tell: jobs of this user, and the time limits of partitions."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from amorlip.common.errors import AmorlipError, one_line

TIMEOUT_S = 30

REASONS = {
    "PartitionTimeLimit": "asks for more time than its partition allows and will never start; lower runtime_min of"
    " the scale, or choose another partition, and submit again",
    "PartitionNodeLimit": "asks for more nodes than its partition allows and will never start",
    "Priority": "other jobs come first",
    "Resources": "waits for free nodes, GPUs or memory",
    "BeginTime": "starts at a later time; a requeued job waits for two minutes",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed, and will never start; cancel it",
    "JobHeldUser": "is held; release it with scontrol release",
    "JobHeldAdmin": "is held by the administrators",
    "JobHoldMaxRequeue": "was requeued too often, and is held; release it with scontrol release",
    "ReqNodeNotAvail": "the nodes that it may use are down or reserved",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition accepts no jobs now",
    "BadConstraints": "no node has what it asks for, and it will never start",
    "InvalidQOS": "its QOS does not exist or is not yours, and it will never start",
    "InvalidAccount": "its account does not exist or is not yours, and it will never start",
    "MaxCpuPerAccount": "its account uses as many CPUs as it may",
}
"""Reason of a pending job → what it means and what to do."""
LIMITS = "a limit of your account, QOS or partition on running jobs or resources is reached; it starts later"
"""What the many reasons such as QOSMaxJobsPerUserLimit or AssocGrpGRES mean."""


@dataclass(frozen=True)
class Job:
    """A job in the queue, as `squeue` lists it."""

    id: str
    state: str
    """RUNNING, PENDING, …"""
    reason: str
    """Why it is pending; None, if it is not."""
    partition: str
    name: str
    """Snakemake's id of the run that submitted it."""
    folder: Path
    """Working directory."""
    comment: str
    """rule_RULE_wildcards_VALUES."""

    def is_of(self, rule: str, *wildcards: str) -> bool:
        """Whether it runs this job of the workflow."""
        return self.comment.endswith("_".join([rule, "wildcards", *wildcards]))

    @property
    def explanation(self) -> str:
        """The reason for which it waits, by its name and in words; empty if it does not wait."""
        if self.state != "PENDING" or self.reason in ("", "None"):
            return ""
        name = self.reason.partition(",")[0].strip("()")
        limits = LIMITS if re.match(r"QOS|Assoc|Max", name) else ""
        words = REASONS.get(name) or limits
        return f"{name}: {words}" if words else name


FIELDS = "%i|%T|%r|%P|%j|%Z|%k"


def jobs() -> list[Job] | None:
    """This user's jobs in the queue; None without Slurm. Raises AmorlipError if the controller does not answer."""
    lines = _lines("squeue", "--me", "--noheader", f"--format={FIELDS}")
    if lines is None:
        return None
    parts = (line.split("|", 6) for line in lines)
    return [Job(*first, folder=Path(folder), comment=comment) for *first, folder, comment in parts]


def partitions() -> dict[str, float] | None:
    """Partition → its time limit [min]; None without Slurm. Raises AmorlipError if the controller does not answer."""
    lines = _lines("sinfo", "--noheader", "--format=%R|%l")
    if lines is None:
        return None
    return {name: minutes(limit) for name, limit in (line.split("|") for line in lines)}


def minutes(limit: str) -> float:
    """A time limit of Slurm in minutes: `30:00`, `12:00:00`, `7-00:00:00`, `infinite`."""
    days, _, clock = limit.rpartition("-")
    if not re.fullmatch(r"[\d:]+", clock):
        return float("inf")  # infinite, or n/a
    parts = [int(part) for part in clock.split(":")]
    hours, mins, seconds = ([0] * 3 + parts)[-3:]
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def _lines(*command: str) -> list[str] | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise AmorlipError(f"{command[0]} failed: {one_line(RuntimeError(error.stderr))}; is Slurm running?") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AmorlipError(f"{command[0]} failed: {one_line(error)}; is Slurm running?") from error
    return [line for line in done.stdout.splitlines() if line.strip()]
