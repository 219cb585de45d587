"""The stage `train` around the training itself: its log, and another process that trains the same run."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.helpers import chain as chains
from tests.helpers import programs
from tests.helpers.chain import Chain

SCONTROL = """
echo "$@" >> {calls}
[ "$1" = requeue ] && kill -TERM $PPID
echo "JobId=$SLURM_JOB_ID JobState=RUNNING Reason=None EndTime=Unknown"
"""
"""The job gets a second signal before the answer."""


@pytest.fixture
def chain(tmp_path) -> Chain:
    (tmp_path / "chain").mkdir()
    return Chain(tmp_path / "chain").build()


@pytest.mark.slow
def test_a_second_process_waits_and_the_log_of_the_first_stays_whole(chain: Chain, tmp_path, monkeypatch):
    """Its Slurm job goes back into the queue if the first one's job is known; else it waits where it is."""
    run, link, calls = tmp_path / "run", tmp_path / "logs" / "run.log", tmp_path / "calls"
    stage = [*chain.train_stage(run, method="clip", epochs=3000, every=1000), "--log", str(link), "--wait"]
    programs.install(tmp_path / "bin", monkeypatch, scontrol=SCONTROL.format(calls=calls))
    first = start(stage, SLURM_JOB_ID="7", AMORLIP_STEP="1")
    try:
        until(lambda: (run / "train.log").exists() and "epoch 1/" in link.read_text(), first)
        link.unlink()  # as Snakemake does before the second job
        second = chains.run(stage, env=chains.environment(SLURM_JOB_ID="8", AMORLIP_STEP="1"))
        assert second.returncode == 75, second.stderr
        assert "Slurm job 7) trains this run; waiting" in second.stderr
        assert "update JobId=8 Dependency=afterany:7" in calls.read_text()
        third = start(stage)
        assert "trains this run; waiting" in third.stderr.readline()
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=60) == 75
        until(lambda: "resumed after step" in link.read_text(), third)
        third.send_signal(signal.SIGTERM)
        assert third.wait(timeout=60) == 75
    finally:
        first.kill()
    log = link.read_text()
    assert log == (run / "train.log").read_text()
    assert log.count("from the start") == log.count("resumed after step") == 1
    assert log.count("SIGTERM: stopped after step") == 2 and "requeue 7" in calls.read_text()


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*chains.COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=chains.environment(**environment)
    )


def until(done, process: subprocess.Popen[str]) -> None:
    while not done():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
