"""A Slurm job as its process sees it, with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from amorlip.common import slurm
from amorlip.common.errors import AmorlipError
from tests.helpers import programs

BECOME = "from amorlip.common import slurm; slurm.become_step(); print('a task')"
SRUN = 'echo "$@" >> {calls}; while [[ $1 == --* ]]; do shift; done; exec "$1" -c "{code}"'
SCONTROL = """
echo "$@" >> {calls}
if [ "$1" = show ]; then echo "JobId=7 JobState={state} Reason={reason} EndTime={end} Dependency=(null)"; exit; fi
if [ "$1" = requeue ] && [ -n "{refusal}" ]; then echo "{refusal}" >&2; exit 1; fi
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A function that makes this process part of job 7, in the state that it is given; returns what scontrol was
    asked so far."""

    def enter(state="RUNNING", reason="None", end="Unknown", refusal="") -> Path:
        calls = tmp_path / "calls"
        script = SCONTROL.format(calls=calls, state=state, reason=reason, end=end, refusal=refusal)
        programs.install(tmp_path / "bin", monkeypatch, scontrol=script)
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        return calls

    return enter


def become(monkeypatch, tmp_path: Path, **environment: str) -> tuple[str, str]:
    """What a process prints that becomes a step, and the options that srun got."""
    calls = tmp_path / "srun"
    programs.install(tmp_path / "bin", monkeypatch, srun=SRUN.format(calls=calls, code=BECOME))
    done = subprocess.run(
        [sys.executable, "-c", BECOME], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, calls.read_text() if calls.exists() else ""


def test_in_a_job_the_command_becomes_a_step_once(monkeypatch, tmp_path):
    environment = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4", "SLURM_STEP_GPUS": "2,3"}
    said, calls = become(monkeypatch, tmp_path, **environment)
    assert said == "a task\n" and calls.count("\n") == 1
    assert calls.startswith("--overlap --nodes=1 --ntasks=1 --export=ALL --input=none --cpus-per-task=4 --gpus=2 ")


def test_a_step_on_several_nodes_has_a_task_on_each():
    options = slurm.step_options({"SLURM_CPUS_PER_TASK": "4", "SLURM_JOB_GPUS": "0,1"}, nodes=3)
    assert options[:3] == ["--overlap", "--nodes=3", "--ntasks=3"] and "--ntasks-per-node=1" in options
    assert options[-2:] == ["--cpus-per-task=4", "--gpus-per-node=2"]


def test_each_task_knows_its_node(monkeypatch):
    assert slurm.this_node(1) == slurm.ALONE
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(AmorlipError, match="set train_resources.nodes to 1 to train on this machine"):
        slurm.this_node(2)
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert slurm.this_node(2) == slurm.Node(1, 2)
    with pytest.raises(AmorlipError, match="3 nodes train together only"):
        slurm.this_node(3)


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "7", "WORLD_SIZE": "2"}])
def test_elsewhere_and_as_a_rank_it_stays_what_it_is(monkeypatch, tmp_path, environment):
    assert become(monkeypatch, tmp_path, **environment) == ("a task\n", "")


def test_the_end_of_a_job(job, monkeypatch):
    assert slurm.end_time() is None
    job(end="2030-01-02T03:04:05")
    assert slurm.end_time() == datetime(2030, 1, 2, 3, 4, 5).timestamp()
    job(end="Unknown")
    assert slurm.end_time() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 60))
    assert slurm.end_time() == pytest.approx(time.time() + 60, abs=5)


@pytest.mark.parametrize(("state", "reason"), [("RUNNING", "None"), ("COMPLETING", "TimeLimit"), ("TIMEOUT", "x")])
def test_a_job_that_saved_is_requeued(job, state, reason):
    calls = job(state, reason)
    assert slurm.requeue() is None
    assert calls.read_text().splitlines()[1:] == ["requeue 7"]


def test_a_job_can_wait_for_another_one(job):
    calls = job()
    assert slurm.requeue(after="5") is None
    assert calls.read_text().splitlines()[1:] == ["requeue 7", "update JobId=7 Dependency=afterany:5"]


def test_a_cancelled_job_is_not_requeued(job):
    calls = job("COMPLETING", "None")
    assert slurm.requeue() == "its state is COMPLETING, with reason None"
    assert "requeue" not in calls.read_text()


def test_a_cluster_that_forbids_it_is_quoted(job):
    job(refusal="Requested operation is presently disabled for job 7")
    assert slurm.requeue() == "Requested operation is presently disabled for job 7"


def test_a_missing_scontrol_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.end_time() is None
    assert "scontrol" in str(slurm.requeue())
