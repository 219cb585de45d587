"""Snakemake leaves a request for each training run that was forced; what training does with it: tests/training."""

from __future__ import annotations

import pytest

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
