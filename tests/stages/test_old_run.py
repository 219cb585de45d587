"""run.yaml of an earlier version, whose keys had other names, is still read with its weights."""

from __future__ import annotations

import json
import shutil

from amorlip import cli, models
from amorlip.config.benchmark import TaskSource
from amorlip.tasks.provide import provide
from tests.helpers import REPOSITORY


def test_an_old_run_is_evaluated(sets, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(REPOSITORY / "tests/helpers/run_of_0.1.0.yaml", run / "run.yaml")
    assert "normaliser" in (run / "run.yaml").read_text()
    models.export(models.create("demo", seed=3), run / "model.safetensors")
    names = ["red", "blue"]
    source = sets.classification(tmp_path / "mine", sets.pictures(4), [0, 1, 0, 1], names, ["a {c}"])
    provide(TaskSource(kind="folder", path=str(source)), tmp_path / "task")
    settings = json.dumps({"task": {"kind": "classification", "main_metric": "acc1"}})
    output = tmp_path / "colors.json"
    cli.main(
        ["evaluate", "--settings", settings, "--run", str(run), "--key", "colors", "--folder", str(tmp_path / "task"),
         "--output", str(output), "--workers", "0"]
    )  # fmt: skip
    found = json.loads(output.read_text())
    assert found["samples"] == 4
    assert found["run"]["method"] == "amorlip_l2log"
