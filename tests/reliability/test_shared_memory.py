"""Too little shared memory (a container's /dev/shm) is one line before training, and what it asks for is enough."""

from __future__ import annotations

import math
import re
import subprocess

import pytest

from tests.helpers.chain import COMMAND, PATIENCE_S, Chain, environment, told_in_one_line


def trained_with(chain: Chain, size: int, output, workers: int) -> subprocess.CompletedProcess[str]:
    """A run in a mount namespace whose /dev/shm has `size` bytes."""
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    stage = [*COMMAND, *chain.train_stage(output, method="clip", epochs=1), "--workers", str(workers)]
    command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *stage]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S, env=environment())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_too_little_shared_memory(chain: Chain, tmp_path, workers):
    """PyTorch's loader would wait forever for a batch that its worker could not pass on."""
    said = told_in_one_line(trained_with(chain, 65536, tmp_path / "out", workers), "train")
    assert "/dev/shm" in said and "--shm-size" in said and "loader.workers" in said
    needed = float(re.search(r"need ([\d.]+) MB", said)[1])
    done = trained_with(chain, math.ceil((needed + 0.05) * 10**6), tmp_path / "out", workers)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_without_workers_no_shared_memory_is_needed(chain: Chain, tmp_path):
    done = trained_with(chain, 4096, tmp_path / "out", 0)
    assert done.returncode == 0, done.stderr[-3000:]
