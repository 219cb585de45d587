"""One training on two nodes of a real Slurm."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.helpers import chain as chains
from tests.helpers.slow_run import SlowRun
from tests.helpers.slurm import Slurm, ask, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]


def test_two_nodes_train_as_one(slurm: Slurm, tmp_path: Path):
    """A rank on each; the weights are those of two ranks on one machine."""
    run = SlowRun(tmp_path, ranks=2)
    run.slow.unlink()
    run.start_uninterrupted()
    stage = [*chains.COMMAND, *run.stage, "--nodes", "2", "--gpus", "0", "--log", str(tmp_path / "run.log")]
    options = ["--parsable", "--nodes=2", "--ntasks=2", "--cpus-per-task=2", "--mem=3000", "--time=60"]
    options += [f"--chdir={tmp_path}", "--output=slurm.log"]
    # both nodes are this machine
    environment = {**run.environment, "GLOO_SOCKET_IFNAME": "lo"}
    job = ask("sbatch", *options, "--wrap", shlex.join(stage), env=environment)
    output = tmp_path / "slurm.log"
    until(lambda: slurm.jobs()[job]["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), output.read_text)
    facts = slurm.jobs()[job]
    assert (facts["JobState"], facts["NumNodes"]) == ("COMPLETED", "2"), output.read_text()
    assert run.result == run.uninterrupted()
    assert not list(run.output.glob("rendezvous*"))
