"""Snakemake's own process on Slurm: Ctrl-C, SIGHUP and SIGKILL, and a job that no node can run."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.helpers import REPOSITORY
from tests.helpers.slurm import Slurm, profile_options, until
from tests.workflow.conftest import Study

pytestmark = [pytest.mark.slurm, pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(900)]

RUN = "results/demo/runs/demo/clip-seed0/model.safetensors"
WAITS = """
if words[0] == "train":
    import time
    with open("starts", "a") as file:
        print(os.environ["SLURM_JOB_ID"], file=file)
    while not os.path.exists("go"):
        time.sleep(0.2)
"""
"""A training that takes as long as the test wants."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study whose training is missing and takes long."""
    made = Study(tmp_path_factory.mktemp("study"))
    made.snakemake("--quiet")
    (made.folder / RUN).unlink()
    command = made.folder / "commands" / "amorlip"
    command.write_text(command.read_text().replace("for file in files:", f"{WAITS}for file in files:", 1))
    return made


def start(study: Study) -> subprocess.Popen[str]:
    """Snakemake, to train on Slurm; returns when the training has begun."""
    starts = study.folder / "starts"
    before = len(starts.read_text().split()) if starts.exists() else 0
    command = ["snakemake", "--snakefile", str(REPOSITORY / "workflow/Snakefile"), RUN, *profile_options(study.folder)]
    snakemake = subprocess.Popen(
        command, cwd=study.folder, env=study.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )

    def begun() -> bool:
        assert snakemake.poll() is None, snakemake.communicate()
        return starts.exists() and len(starts.read_text().split()) > before

    until(begun, "no training begins")
    return snakemake


def last_job(study: Study) -> str:
    return (study.folder / "starts").read_text().split()[-1]


def test_a_job_that_no_node_can_run_ends_with_slurms_reason(slurm: Slurm, study: Study):
    resources = {"cpus": 1, "gpus": 0, "mem_mb": 900_000, "runtime_min": 10}
    changes = {"overrides": {"scales": {"demo": {"train_resources": resources}}}}
    said = study.snakemake(RUN, *profile_options(study.folder), "--retries", "0", fails=True, **changes)
    assert "Memory specification can not be satisfied" in said or "node configuration is not available" in said
    assert not slurm.queue()


def test_ctrl_c_cancels_the_jobs(slurm: Slurm, study: Study):
    snakemake = start(study)
    snakemake.send_signal(signal.SIGINT)
    said, _ = snakemake.communicate(timeout=120)
    assert snakemake.returncode != 0, said
    until(lambda: slurm.jobs()[last_job(study)]["JobState"] in ("CANCELLED", "FAILED"), "the job goes on")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_job_of_a_killed_snakemake_ends_its_work_and_the_study_goes_on(slurm: Slurm, study: Study, number):
    (study.folder / RUN).unlink(missing_ok=True)
    (study.folder / "go").unlink(missing_ok=True)
    snakemake = start(study)
    snakemake.send_signal(number)
    snakemake.wait(timeout=60)
    job = last_job(study)
    assert slurm.jobs()[job]["JobState"] == "RUNNING"
    (study.folder / "go").touch()
    until(lambda: slurm.jobs()[job]["JobState"] == "COMPLETED", "the job fails without Snakemake")
    study.snakemake(RUN, "--unlock")
    study.snakemake(RUN, *profile_options(study.folder))
    assert (study.folder / RUN).exists() and not slurm.queue()
