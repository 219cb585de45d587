"""The Slurm that the other tests use does what they need of it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.slurm import Slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_node_fails_and_its_job_starts_again_on_the_other_node(slurm: Slurm, tmp_path: Path):
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho $SLURMD_NODENAME >> nodes; sleep 300\n")
    options = ["--parsable", "--gpus=2", "--mem=100", "--requeue", f"--chdir={tmp_path}", "--output=job.log"]
    job = subprocess.run(["sbatch", *options, script], capture_output=True, text=True, check=True).stdout.strip()
    nodes = tmp_path / "nodes"
    try:
        _wait_for_lines(nodes, 1)
        first = nodes.read_text().strip()
        slurm.kill_node(first)
        _wait_for_lines(nodes, 2)
    finally:
        subprocess.run(["scancel", job], check=True)
        slurm.start_node(first)
    assert set(nodes.read_text().split()) == {"node1", "node2"}
    assert slurm.jobs()[job]["Restarts"] == "1"
    assert subprocess.run(["pgrep", "-f", str(script)], capture_output=True).returncode, "a killed node's job lives on"


def _wait_for_lines(path: Path, count: int) -> None:
    end = time.monotonic() + 90
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < end, f"{path} has fewer than {count} lines"
        time.sleep(0.2)
