"""Fake GPUs are shared among processes: none is used twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amorlip.common import gpus
from tests.helpers import programs

CLAIM = """
import os, sys, time
from amorlip.common import gpus
gpus.POLL_S = 0.05
gpus.claim(int(sys.argv[1]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
time.sleep(60)
"""
TWO = 'echo "GPU 0: NVIDIA H100 (UUID: GPU-a)"; echo "GPU 1: NVIDIA H100 (UUID: GPU-b)"'


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two fake GPUs, and a function that starts a process which claims some of them."""
    programs.install(tmp_path / "bin", monkeypatch, nvidia_smi=TWO)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus.tempfile, "tempdir", None)
    processes = []

    def start(count: int, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLAIM, str(count)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def devices(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip()


def test_processes_get_different_gpus_and_wait_for_a_free_one(machine):
    first, second = machine(1), machine(1)
    taken = {devices(first), devices(second)}
    assert taken == {"0", "1"}
    third = machine(1)
    assert "waiting" in third.stderr.readline() and third.poll() is None
    first.send_signal(signal.SIGKILL)
    assert devices(third) in taken
    assert second.poll() is None


def test_a_choice_of_the_user_is_respected(machine):
    assert devices(machine(1, CUDA_VISIBLE_DEVICES="GPU-b")) == "GPU-b"
    assert devices(machine(0, CUDA_VISIBLE_DEVICES="0,1")) == ""


def test_no_gpu_and_all_gpus(machine):
    assert devices(machine(0)) == ""
    assert devices(machine(2)) == "0,1"


def test_more_than_there_are_changes_nothing(machine):
    assert devices(machine(3)) == "None"
    assert devices(machine(2)) == "0,1"


def test_a_folder_that_others_can_change_is_refused(machine, tmp_path):
    """Its name in a shared /tmp can be guessed: someone else may have made it, or a link to somewhere."""
    folder = tmp_path / f"amorlip-gpus-{os.getuid()}"
    for make in (lambda: folder.mkdir(), lambda: folder.symlink_to(tmp_path / "bin")):
        make()
        if not folder.is_symlink():
            folder.chmod(0o777)
        process = machine(1)
        assert "can be changed by others; delete it" in process.communicate()[1] and process.returncode == 1
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def test_a_planted_link_is_not_followed(machine, tmp_path):
    folder = tmp_path / f"amorlip-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700)
    (folder / "0").symlink_to(tmp_path / "victim")
    assert "is a link or not a regular file" in machine(1).communicate()[1]
    assert not (tmp_path / "victim").exists()


def test_the_gpus_of_a_slurm_job_are_its_own(machine):
    """With cgroups, each job on a node sees its first GPU as number 0."""
    jobs = [machine(1, SLURM_JOB_ID=job, CUDA_VISIBLE_DEVICES="0") for job in ("7", "8")]
    assert [devices(job) for job in jobs] == ["0", "0"]


@pytest.mark.parametrize(
    ("variables", "control", "expected"),
    [
        ({}, False, None),
        ({}, True, "this machine has a GPU"),
        ({"SLURM_JOB_GPUS": "2,3"}, False, "this Slurm job has GPUs (SLURM_JOB_GPUS is 2,3)"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b"}, False, "CUDA_VISIBLE_DEVICES is GPU-b"),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "2"}, True, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, True, None),
    ],
)
def test_where_a_gpu_is_expected(monkeypatch, tmp_path, variables, control, expected):
    for name in (gpus.VISIBLE, *gpus.SLURMS):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(gpus, "CONTROL", tmp_path / ("nvidiactl" if control else "none"))
    reason = gpus.expected()
    assert reason is None if expected is None else reason.startswith(expected)
    gpus.hide()
    assert gpus.expected() is None


def test_what_is_visible(machine, monkeypatch):
    assert gpus.visible() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert gpus.visible() == []
