"""`snakemake fetch` does what needs the internet, and no job needs it afterwards."""

from __future__ import annotations

import pytest

from tests.workflow.conftest import REPOSITORY, Study

pytestmark = pytest.mark.workflow

ONLINE = {"artwork", "urls", "download", "weights"}
"""Rules whose jobs ask for files from elsewhere, as `tasks` does for sets from a hub. That no other stage connects to
anything is tested with its sockets watched, in tests/reliability/test_privacy.py."""
OPENAI = {"openai": {"title": "OpenAI", "model": "RN50", "pretrained": "openai"}}
HUB = {"kind": "hub", "repository": "me/digits"}
CHANGES = {
    "external_models": OPENAI,
    "overrides": {"benchmarks": {"demo": {"tasks": {"digits": {"source": HUB}}}}},
}


def test_what_needs_the_internet_is_fetched_on_a_login_node(tmp_path):
    study = Study(tmp_path)
    fetched = {"artwork": 1, "urls": 1, "download": 1, "tasks": 1, "weights": 1}
    assert study.planned("fetch", **CHANGES) == {**fetched, "fetch": 1}
    for command in ("sbatch", "scontrol", "sacct", "squeue"):  # a job that is not local would fail
        (tmp_path / "commands" / command).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "commands" / command).chmod(0o755)
    said = study.snakemake("fetch", "--profile", str(REPOSITORY / "workflow/profiles/slurm"), **CHANGES)
    assert "6 of 6 steps" in said
    left = study.planned(**CHANGES)
    assert left["train"] == 2 and not ONLINE & left.keys()
    assert {path for path in study.planned_outputs(**CHANGES) if path == "results/tasks/digits/task.json"} == set()
