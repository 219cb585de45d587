"""Snakemake around the stages: Ctrl-C, SIGTERM, and what is asked of the network."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.watched import alone
from tests.workflow.conftest import REPOSITORY, Study

pytestmark = [pytest.mark.slow, pytest.mark.workflow]

HALF = "half of the results"
TRAINING = f"""
if words[0] == "train":
    import time
    folder = pathlib.Path(options["output"][0])
    checkpoint = folder / "checkpoints" / "step"
    if not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        (folder / "run.yaml").write_text("{HALF}")
        time.sleep(120)
"""
"""A run that is at work for as long as a test wants, and goes on when it is started again."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """The demo's workflow with stand-ins for its stages."""
    folder = tmp_path / "study"
    folder.mkdir()
    return Study(folder)


def start(study: Study) -> subprocess.Popen[str]:
    """Snakemake in a process group of its own."""
    return subprocess.Popen(
        ["snakemake", "--snakefile", str(REPOSITORY / "workflow/Snakefile")], cwd=study.folder, env=study.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored below a shell's `&`
    )  # fmt: skip


def test_snakemake_is_interrupted(study: Study):
    """Ctrl-C while it trains goes to all processes; the next call needs no unlocking, and finds the checkpoint."""
    command = study.folder / "commands" / "amorlip"
    command.write_text(command.read_text().replace("for file in files:", f"{TRAINING}for file in files:"))
    snakemake, runs = start(study), study.folder / "results/demo/runs/demo"
    try:
        while not list(runs.glob("*/run.yaml")):
            assert snakemake.poll() is None, snakemake.communicate()
            time.sleep(0.1)
        os.killpg(snakemake.pid, signal.SIGINT)
        said, _ = snakemake.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(snakemake.pid, signal.SIGKILL)
    assert snakemake.returncode != 0, said
    assert list(runs.glob("*/checkpoints/step")), "a checkpoint was deleted"
    names = ["clip-seed0", "amorlip_l2log-seed0"]
    for name in names:  # one of them may not have begun
        (runs / name / "checkpoints").mkdir(parents=True, exist_ok=True)
        (runs / name / "checkpoints" / "step").touch()
    study.snakemake(*(f"results/demo/runs/demo/{name}/model.safetensors" for name in names))
    assert all((runs / name / "run.yaml").read_text() != HALF for name in names)


def test_snakemake_and_its_report_stay_at_home(study: Study, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", study.environment["PATH"])
    # Snakemake's Slurm plugin asks an installed Slurm client, which asks the resolver where it has no configuration.
    monkeypatch.setenv("SLURM_CONF", "/dev/null")
    command = ["snakemake", "--snakefile", str(REPOSITORY / "workflow/Snakefile"), "--directory", str(study.folder)]
    told = alone(tmp_path, command)
    assert (told["code"], told["attempts"], told["unroutable"]) == (0, [], 0), told
    assert (study.folder / "results/demo/report.html").stat().st_size > 10_000
