"""What `snakemake --profile slurm` asks of Slurm: partition, CPUs, memory, GPUs, time; and where logs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.slurm import Slurm, profile_options
from tests.workflow.conftest import Study

pytestmark = [pytest.mark.slurm, pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(900)]

RESOURCES = {"cpus": 4, "gpus": 2, "mem_mb": 3000, "runtime_min": 33}
CHANGES = {"overrides": {"scales": {"demo": {"recipe": {"ranks": 2}, "train_resources": RESOURCES}}}}
RUN = "results/demo/runs/demo/clip-seed0/model.safetensors"
TASK = "results/tasks/openmoji/task.json"
CONFIGURATION = "results/demo/config.yaml"


def test_jobs_ask_for_what_the_configuration_says(slurm: Slurm, tmp_path: Path):
    """More CPUs than this machine has too: the default profile's `cores: all` does not limit a job of a cluster."""
    study = Study(tmp_path)
    study.snakemake("--quiet")
    for path in (RUN, TASK, CONFIGURATION):
        (tmp_path / path).unlink()
    said = study.snakemake(RUN, TASK, CONFIGURATION, *profile_options(tmp_path), **CHANGES)
    jobs = {job["Comment"]: job for job in slurm.jobs().values()}
    train, task = jobs["rule_train_wildcards_demo_clip-seed0"], jobs["rule_tasks_wildcards_openmoji"]
    assert (train["NumCPUs"], train["MinMemoryNode"], train["TimeLimit"]) == ("4", "3000M", "00:33:00")
    assert (train["TresPerJob"], train["Partition"]) == ("gres:gpu:2", "gpu")
    assert (task["NumCPUs"], task["MinMemoryNode"], task["TimeLimit"]) == ("1", "4000M", "04:00:00")
    assert ("TresPerJob" in task, task["Partition"]) == (False, "cpu")
    assert not [comment for comment in jobs if "study_config" in comment], "a small rule was submitted"
    assert {job["JobName"].split("_")[0] for job in jobs.values()} == {"amorlip"}
    assert train["NumNodes"] == "1"
    assert Path(train["StdOut"]).parent == tmp_path / "results/slurm_logs/rule_train/demo_clip-seed0"
    assert all((tmp_path / path).exists() for path in (RUN, TASK, CONFIGURATION)), said
