"""Snakemake leaves a request for each training run that was forced; what training does with it: tests/training."""

from __future__ import annotations

import pytest

from amorlip import evaluation_jobs
from amorlip.training.restart import MARKER

pytestmark = pytest.mark.workflow

CLIP, AMORLIP = (f"results/demo/runs/demo/{method}-seed0" for method in ("clip", "amorlip_l2log"))


@pytest.mark.parametrize(
    ("arguments", "requested"),
    [
        (("--forcerun", "train", "--", f"{CLIP}/model.safetensors"), {CLIP}),
        (("--forcerun", f"{CLIP}/model.safetensors", "--", f"{CLIP}/run.yaml", f"{AMORLIP}/run.yaml"), {CLIP}),
        (("--force", "--", f"{AMORLIP}/metrics.jsonl"), {AMORLIP}),
        (("-n", "--forcerun", "train"), set()),
        (("--touch", "--forcerun", "train"), set()),
        (("--", f"{CLIP}/run.yaml", f"{AMORLIP}/run.yaml"), set()),
    ],
    ids=["rule", "file", "target", "dry run", "touch", "deleted, not forced"],
)
def test_only_forced_runs_are_requested(finished, tmp_path, arguments, requested):
    study = finished.copy(tmp_path / "study")
    (study.folder / AMORLIP / "model.safetensors").unlink()
    study.snakemake(*arguments)
    found = {run for run in (CLIP, AMORLIP) if (study.folder / run / MARKER).exists()}
    assert found == requested


def test_a_forced_evaluation_uses_no_earlier_result(finished, tmp_path):
    """Also there, Snakemake only leaves a file; what a job does with it: tests/stages/test_evaluate_job.py."""
    study = finished.copy(tmp_path / "study")
    records = sorted(study.folder.glob("results/demo/evaluations/demo/*/.evaluated-1-of-1.json"))
    assert len(records) == 2 and not any(evaluation_jobs.last_forced(record) for record in records)
    study.snakemake("--forcerun", "evaluate", "--", str(records[0].relative_to(study.folder)))
    assert [evaluation_jobs.last_forced(record) > 0 for record in records] == [True, False]
