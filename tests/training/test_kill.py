"""SIGKILL at any moment, with loader processes: the run resumes and ends in the same weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amorlip.common import files
from amorlip.training import loop
from amorlip.training import records as training_records
from tests.helpers import tiny

KILLS = int(os.environ.get("AMORLIP_KILLS", "20")) // 5
"""A fifth of those in tests/reliability, where processes are forked: these start new processes, which takes seconds."""


def start(run, corpus: Path, output: Path, errors=subprocess.DEVNULL) -> subprocess.Popen:
    command = [sys.executable, tiny.__file__, json.dumps(run.model_dump()), str(corpus), str(output)]
    return subprocess.Popen(command, stderr=errors, start_new_session=True)


def kill_after(process: subprocess.Popen, output: Path, seconds: float) -> bool:
    """SIGKILL `seconds` after the process has begun to train; False if it had ended by then."""
    log = output / "train.log"
    size = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (not log.exists() or log.stat().st_size == size):
        time.sleep(0.01)
    time.sleep(seconds)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_random_and_started_again(corpus, make_run, tmp_path):
    """Steps, checkpoints (every second step) and the export all get their share of kills; loader processes are used."""
    settings = {"t_lambda": 1, "alpha": 0.5}
    run = make_run("amorlip_l2log", settings, loader={"workers": 1}, checkpoint_every_steps=2, log_every_steps=3)
    loop.train(run, corpus, tmp_path / "whole", {})
    expected = files.sha256(tmp_path / "whole" / "model.safetensors")
    chance, kills, output = random.Random(0), 0, tmp_path / "killed"
    while kills < KILLS:
        process = start(run, corpus, output)
        if kill_after(process, output, chance.uniform(0.0, 1.5)):
            kills += 1
        else:  # it got to the end: from the start again
            assert files.sha256(output / "model.safetensors") == expected
            output = tmp_path / f"killed{kills}"
    assert start(run, corpus, output).wait() == 0
    assert files.sha256(output / "model.safetensors") == expected
    assert records(output) == records(tmp_path / "whole")


def records(output: Path) -> list[dict]:
    """metrics.jsonl, without measured times."""
    return [r.model_dump(exclude={"samples_per_s", "seconds"}) for r in training_records.read(output / "metrics.jsonl")]


def train_until_signal(run, corpus: Path, output: Path, number: signal.Signals) -> tuple[int, str]:
    """Exit code and stderr of a run whose whole process group gets a signal in the second epoch or later."""
    with (output / "errors").open("w+") as errors:
        process = start(run, corpus, output, errors)
        log = output / "train.log"
        try:
            while not log.exists() or "epoch 1/" not in log.read_text():
                assert process.poll() is None
                time.sleep(0.05)
            os.killpg(process.pid, number)
            process.wait(timeout=60)
        finally:
            process.kill()
        errors.seek(0)
        return process.returncode, errors.read()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGURG", "SIGUSR1"])
def test_a_schedulers_signal_to_the_whole_job_saves(corpus, make_run, tmp_path, name):
    run = make_run(epochs=500, loader={"workers": 1})
    code, errors = train_until_signal(run, corpus, tmp_path, getattr(signal, name))
    assert code == 75
    assert f"{name}: stopped after step" in errors and "Traceback" not in errors
    assert list((tmp_path / "checkpoints").glob("*/step-*.json"))


@pytest.mark.slow
def test_ctrl_c_ends_the_whole_job_at_once(corpus, make_run, tmp_path):
    """Not even the loader's processes keep it, and they say nothing."""
    run = make_run(epochs=500, loader={"workers": 1})
    code, errors = train_until_signal(run, corpus, tmp_path, signal.SIGINT)
    assert code in (1, -signal.SIGINT)
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
