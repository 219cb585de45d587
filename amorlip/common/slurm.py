"""Slurm, seen from inside one of its jobs: a step of its own, the job's end, and starting the job again.

What was tried on a real Slurm, and why it is done so: docs/decisions/2026-11-26-training-in-slurm-jobs.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from amorlip.common.errors import AmorlipError, one_line

STEP = "AMORLIP_STEP"
"""Environment variable: set in a step that `become_step` made; set by a user, it prevents one."""
TIMEOUT_S = 20
"""For an answer of Slurm's controller. After SIGTERM a job has `KillWait` seconds in all, 30 by default."""
WAIT_S = 300
"""How long the tasks of other nodes may go on after the first one has ended."""
REQUEUED_STATES = ("RUNNING", "TIMEOUT", "PREEMPTED", "SUSPENDED")
"""States of a job that is started again after it has saved. A cancelled one is not: someone wanted its end."""


def job_id() -> str | None:
    """The id of the Slurm job that this process is part of."""
    return os.environ.get("SLURM_JOB_ID")


class Node(NamedTuple):
    """One of the machines that train a run together."""

    number: int
    count: int


ALONE = Node(0, 1)


def this_node(count: int) -> Node:
    """This machine among `count`, in a step with one task on each. Raises AmorlipError if there is no such step."""
    if count == 1:
        return ALONE
    number, tasks = os.environ.get("SLURM_PROCID"), os.environ.get("SLURM_NTASKS")
    if number is None or tasks != str(count):
        raise AmorlipError(
            f"{count} nodes train together only in a Slurm job of {count} nodes and tasks; set train_resources.nodes "
            "to 1 to train on this machine"
        )
    return Node(int(number), count)


def step_name() -> str:
    """A name of this step that no other step has, nor the same one after the job was requeued."""
    return "-".join(os.environ.get(f"SLURM_{part}", "0") for part in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))


def become_step(nodes: int = 1) -> None:
    """In a Slurm job, replace this process by the same command as a step's task on each node; elsewhere, return.

    Slurm sends SIGTERM and `--signal` only to the tasks of steps. Under Snakemake that is Snakemake, whose children do
    not get them where Slurm tracks processes by cgroups, as most clusters do.
    """
    srun = shutil.which("srun")
    if job_id() is None or os.environ.get(STEP) or "WORLD_SIZE" in os.environ or srun is None:
        return
    os.environ[STEP] = "1"
    os.execv(srun, [srun, *step_options(os.environ, nodes), sys.executable, "-m", "amorlip", *sys.argv[1:]])


def step_options(environment: Mapping[str, str], nodes: int = 1) -> list[str]:
    """Options of srun for a step of one task on each node, with as many CPUs and GPUs as this process has.

    No standard input: Snakemake's executor gives its script to a shell that way, and srun would read the rest of it.
    """
    options = ["--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--export=ALL", "--input=none"]
    if nodes > 1:
        # if one node's task ends, the others end soon; but not at once: they may still save
        options += ["--ntasks-per-node=1", f"--wait={WAIT_S}"]
    cpus = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE")
    if cpus:
        options.append(f"--cpus-per-task={cpus}")
    gpus = environment.get("SLURM_STEP_GPUS") or environment.get("SLURM_JOB_GPUS")
    if gpus:
        options.append(f"--gpus-per-node={len(gpus.split(','))}" if nodes > 1 else f"--gpus={len(gpus.split(','))}")
    return options


def end_time() -> float | None:
    """When this job reaches its time limit [seconds since 1970]; None outside a job, without a limit, or unknown."""
    if job_id() is None:
        return None
    if known := os.environ.get("SLURM_JOB_END_TIME"):  # since Slurm 22.05.9 or later
        return float(known)
    try:
        return datetime.fromisoformat(_describe().get("EndTime", "")).timestamp()
    except (ValueError, OSError, subprocess.SubprocessError):
        return None


def requeue(after: str | None = None) -> str | None:
    """Put this job back into the queue, where it keeps its id; Slurm then ends its processes.

    `after`: the id of a job whose end it should wait for. Returns None, or why the job was not requeued, in one line.
    """
    own = job_id()
    if own is None:
        return "this is no Slurm job"
    try:
        job = _describe()
        # after its time limit a job is COMPLETING, as a cancelled one is
        if job.get("JobState") not in REQUEUED_STATES and job.get("Reason") != "TimeLimit":
            return f"its state is {job.get('JobState', 'unknown')}, with reason {job.get('Reason', 'unknown')}"
        _scontrol("requeue", own)
        if after is not None:
            _scontrol("update", f"JobId={own}", f"Dependency=afterany:{after}")
    except (OSError, subprocess.SubprocessError) as error:
        return one_line(RuntimeError(getattr(error, "stderr", None) or str(error)))
    return None


def _describe() -> dict[str, str]:
    """What `scontrol show job` tells about this job."""
    return dict(re.findall(r"(\w+)=(\S*)", _scontrol("show", "job", "--oneliner", str(job_id()))))


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout
