"""A slow run that a real Slurm trains: in jobs that a test submits, or in those of a Snakemake."""

from __future__ import annotations

import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.helpers import REPOSITORY
from tests.helpers import chain as chains
from tests.helpers.slow_run import SlowRun
from tests.helpers.slurm import Slurm, ask, profile_options, until
from tests.workflow.conftest import Study

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
FOLDER = "results/demo/runs/demo/clip-seed0"
RESOURCES = {"cpus": 2, "gpus": 2, "mem_mb": 3000, "runtime_min": 60}
RECIPE = {"ranks": 2, "device": "cpu"}
CHANGES = {"overrides": {"scales": {"demo": {"recipe": RECIPE, "train_resources": RESOURCES}}}}
TRAINS = """
if words[0] == "train":
    os.execv({command!r}, [{command!r}, *words, *{stage!r}])
"""
"""The real stage, with the settings, shards and checkpoints of the slow run: the last value of an option counts."""


class TrainedBySlurm(ABC):
    """A run, and the Slurm job that trains it now."""

    def __init__(self, slurm: Slurm, run: SlowRun) -> None:
        self.slurm, self.run = slurm, run

    @property
    @abstractmethod
    def job(self) -> str:
        """The job's id."""

    @abstractmethod
    def said(self) -> str:
        """What it printed last, for messages."""

    @property
    def facts(self) -> dict[str, str]:
        """What Slurm tells about the job."""
        return self.slurm.jobs()[self.job]

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Return when `done()`."""
        until(done, lambda: f"{what}\n{self.said()}\n{self.run.log[-2000:]}")

    def wait_for_start(self, number: int) -> None:
        """Return when the run trains after its start `number`, counted from 1."""
        self.wait(lambda: len(self.run.starts) == number and self.run.trains, f"start {number} does not train")


class Submitted(TrainedBySlurm):
    """A run of one rank in jobs that are submitted here, on a node that nothing else uses."""

    def __init__(self, slurm: Slurm, folder: Path, node: str) -> None:
        super().__init__(slurm, SlowRun(folder))
        self.node = node
        self.jobs = [self.submit()]

    @property
    def job(self) -> str:
        return self.jobs[-1]

    def said(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.run.folder.glob("slurm-*.log"))

    def submit(self) -> str:
        """A further job for the run; its id."""
        folder, script = self.run.folder, self.run.folder / "job.sh"
        stage = [*self.run.stage, "--log", str(folder / "run.log"), "--wait", "--gpus", "1"]
        command = shlex.quote(f"exec {shlex.join([*chains.COMMAND, *stage])}")
        script.write_text(JOB.format(python=sys.executable, command=command))
        options = ["--parsable", "--requeue", "--gpus=1", "--cpus-per-task=2", "--mem=3000", "--time=60"]
        options += [f"--nodelist={self.node}", f"--chdir={folder}", "--output=slurm-%j.log", "--open-mode=append"]
        return ask("sbatch", *options, str(script), env=self.run.environment)

    def reach_time_limit_twice(self) -> None:
        """Lower the job's limit so that Slurm ends it, and then so that training leaves before it."""
        self.wait_for_start(1)
        ask("scontrol", "update", f"JobId={self.job}", "TimeLimit=1")
        self.wait(lambda: self.facts["Restarts"] == "1", "it is not started after its time limit")
        ask("scontrol", "update", f"JobId={self.job}", "TimeLimit=2")  # before training reads it
        self.run.start_uninterrupted()  # needed later; now there is time for it
        self.wait(lambda: self.facts["Restarts"] == "2", "it does not leave before its time limit")
        ask("scontrol", "update", f"JobId={self.job}", "TimeLimit=60")
        self.wait_for_start(3)


class UnderSnakemake(TrainedBySlurm):
    """A run of two ranks in jobs of the partition `low`, which a Snakemake submits."""

    def __init__(self, slurm: Slurm, study: Study) -> None:
        self.output, folder = study.folder / "snakemake.log", study.folder / "slow_run"
        folder.mkdir()
        super().__init__(slurm, SlowRun(folder, ranks=2, output=study.folder / FOLDER))
        command = study.folder / "commands" / "amorlip"
        trains = TRAINS.format(command=chains.COMMAND[0], stage=self.run.stage[1:])
        command.write_text(command.read_text().replace("stage = words[0]", f"{trains}stage = words[0]", 1))
        (study.folder / "changes.yaml").write_text(yaml.safe_dump(CHANGES))
        options = ["--configfile", "changes.yaml", "--set-resources", "train:slurm_partition=low"]
        command = ["snakemake", "--snakefile", str(REPOSITORY / "workflow/Snakefile"), f"{FOLDER}/model.safetensors"]
        with self.output.open("w") as file:
            self.snakemake = subprocess.Popen(
                [*command, *profile_options(study.folder), *options],
                cwd=study.folder,
                env={**self.run.environment, "PATH": study.environment["PATH"]},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def job(self) -> str:
        jobs = self.slurm.jobs().values()
        return [job["JobId"] for job in jobs if "rule_train_" in job.get("Comment", "")][-1]

    def said(self) -> str:
        return self.output.read_text()[-2000:]
