"""The jobs of `amorlip plan` are those that Snakemake would run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from amorlip.config.load import merged, read_yaml
from amorlip.monitor import jobs
from amorlip.study import load_study, top_level_layers
from tests.workflow.conftest import REPOSITORY, Study

pytestmark = pytest.mark.workflow

CONFIG = REPOSITORY / "config"
OPENAI = {"openai": {"title": "OpenAI", "model": "RN50", "pretrained": "openai"}}


def counted(results: Path, *files: Path) -> dict[str, int]:
    layers = top_level_layers(files, CONFIG)
    study = load_study(merged(layers), CONFIG, layers=layers)
    return dict(Counter(job.rule for job in jobs.jobs(study, results) if not job.done))


@pytest.mark.parametrize("name", ["config.yaml", "small.yaml", "paper.yaml"])
def test_the_jobs_are_those_of_a_dry_run(tmp_path, name):
    planned = Study(tmp_path).planned(**read_yaml(CONFIG / name), external_models=OPENAI)
    assert counted(tmp_path / "results", tmp_path / "changes.yaml") == planned


def test_nothing_is_left_of_a_finished_study(finished):
    assert counted(finished.folder / "results") == {} == finished.planned()


def test_the_target_is_one_job(finished):
    assert finished.planned("plan") == {"plan": 1}
