"""The Slurm that the other tests use does what they need of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.helpers.slurm import Slurm, ask, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_node_fails_and_its_job_starts_again_on_the_other_node(slurm: Slurm, tmp_path: Path):
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho $SLURMD_NODENAME >> nodes; sleep 300\n")
    options = ["--parsable", "--gpus=2", "--mem=100", "--requeue", f"--chdir={tmp_path}", "--output=job.log"]
    job = ask("sbatch", *options, str(script))
    nodes = tmp_path / "nodes"
    try:
        until(lambda: starts(nodes) == 1, "the job does not start")
        first = nodes.read_text().strip()
        slurm.kill_node(first)
        until(lambda: starts(nodes) == 2, "the job does not start again")
    finally:
        ask("scancel", job)
        slurm.start_node(first)
    assert set(nodes.read_text().split()) == {"node1", "node2"}
    assert slurm.jobs()[job]["Restarts"] == "1"
    assert subprocess.run(["pgrep", "-f", str(script)], capture_output=True).returncode, "a killed node's job lives on"


def starts(nodes: Path) -> int:
    return len(nodes.read_text().splitlines()) if nodes.exists() else 0
