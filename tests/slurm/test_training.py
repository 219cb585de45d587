"""One run in several jobs of a real Slurm, and a second job for the same run."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from amorlip.common import files
from tests.helpers import chain as chains
from tests.helpers.chain import Chain
from tests.helpers.slurm import Slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]

# As snakemake-executor-plugin-slurm does: a step, whose task is a program that starts a shell that starts the stage.
JOB = """#!/bin/bash
for name in ${{!SLURM_@}}; do
    [ "$name" = SLURM_JOB_ID ] || unset "$name"
done
srun -n1 --cpus-per-task=2 --gpus=1 --nodes=1 {python} -c 'import subprocess, sys
code = subprocess.call(["bash", "-c", sys.argv[1]])
print("exit code", code, file=open("codes", "a"))
sys.exit(code)' {command}
"""


def submit(folder: Path, stage: list[str]) -> str:
    """Submit the stage; the job's id."""
    script = folder / "job.sh"
    command = shlex.quote(f"exec {shlex.join([*chains.COMMAND, *stage])}")
    script.write_text(JOB.format(python=sys.executable, command=command))
    options = ["--parsable", "--requeue", "--gpus=1", "--cpus-per-task=2", "--mem=3000", "--time=30"]
    return ask("sbatch", *options, f"--chdir={folder}", "--output=slurm-%j.log", "--open-mode=append", str(script))


def ask(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def until(done: Callable[[], bool], folder: Path, what: str, timeout_s: int = 240) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, what + "\n".join(path.read_text()[-2000:] for path in folder.glob("slurm-*.log"))
        time.sleep(0.3)


def test_a_run_of_several_jobs(slurm: Slurm, tmp_path: Path):
    """A scheduler's signal and a time limit: each time it saves, and its own job goes back into the queue."""
    (tmp_path / "chain").mkdir()
    chain = Chain(tmp_path / "chain").build()
    recipe = {"method": "clip", "epochs": 120, "every": 100_000, "device": "cpu"}  # Slurm's GPUs are not real
    stage = chain.train_stage(tmp_path / "run", **recipe)
    stage += ["--log", str(tmp_path / "run.log"), "--wait", "--gpus", "1"]
    log, codes = tmp_path / "run" / "train.log", tmp_path / "codes"

    def says(text: str) -> bool:
        return log.exists() and text in log.read_text()

    first = submit(tmp_path, stage)
    until(lambda: says("epoch 2/120 took"), tmp_path, "the run does not train")
    second = submit(tmp_path, stage)
    until(lambda: slurm.jobs()[second]["Dependency"] != "(null)", tmp_path, "the second job does not wait in the queue")
    assert slurm.jobs()[second]["Dependency"].startswith(f"afterany:{first}")
    assert slurm.jobs()[second]["JobState"] in ("PENDING", "COMPLETING")
    ask("scancel", "--signal=URG", first)
    until(lambda: slurm.jobs()[first]["Restarts"] == "1" and says("resumed after"), tmp_path, "it does not go on")
    ask("scontrol", "update", f"JobId={first}", "TimeLimit=1")
    until(lambda: slurm.jobs()[first]["Restarts"] == "2", tmp_path, "it is not started after its time limit")
    ask("scontrol", "update", f"JobId={first}", "TimeLimit=30")
    until(lambda: slurm.jobs()[second]["JobState"] == "COMPLETED", tmp_path, "the second job does not end")
    assert slurm.jobs()[first]["JobState"] == "COMPLETED"
    assert codes.read_text().split("\n")[-3:-1] == ["exit code 0"] * 2
    text = (tmp_path / "run.log").read_text()
    assert text.count("from the start") == 1 and text.count("resumed after step") == 2
    assert text.count("put back into the queue") == 2 and text.count("already trained") == 1
    chains.finish(chain.train_stage(tmp_path / "whole", **recipe))
    assert files.sha256(tmp_path / "run" / "model.safetensors") == files.sha256(
        tmp_path / "whole" / "model.safetensors"
    )
