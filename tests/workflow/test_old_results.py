"""A results folder that an earlier version made: recognized, moved by the printed commands, and not made again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.old_results import refuse_old_layout
from amorlip.study import load_study
from tests.helpers import REPOSITORY

OLD_NAMES = [
    ("results/tasks", "results/benchmarks"),
    ("results/demo/timings", "results/demo/benchmarks"),
    ("results/corpora/demo/timings", "results/corpora/demo/benchmarks"),
]
OLD_KEYS = {
    "overrides": {"corpora": {"demo": {"emoji": {"picture_size": 63}}}, "scales": {"demo": {"recipe": {"epochs": 3}}}}
}
"""Stands for keys of other names: settings of the first stage and of training that differ from the last run's."""


@pytest.mark.workflow
def test_an_old_results_folder_is_kept(finished, tmp_path):
    study = finished.copy(tmp_path / "old")
    for new, old in OLD_NAMES:
        (study.folder / new).rename(study.folder / old)
    said = study.snakemake("-n", fails=True, **OLD_KEYS)
    line = next(line for line in said.splitlines() if "earlier version" in line)
    commands = re.search(r"To keep what it holds: (.*?); then", line)
    assert commands, said
    subprocess.run(commands.group(1), shell=True, check=True, cwd=study.folder)
    assert study.planned(**OLD_KEYS)["train"] == 2, "nothing to protect"
    weights = study.folder / "results/demo/runs/demo/clip-seed0/model.safetensors"
    before = weights.read_bytes()
    study.snakemake("--touch", **OLD_KEYS)
    assert study.planned(**OLD_KEYS) == {}
    assert weights.read_bytes() == before


@pytest.mark.workflow
def test_what_an_old_results_folder_lacks_is_still_made(finished, tmp_path):
    """`--touch` creates no file, so a study that was not finished continues where it was."""
    study = finished.copy(tmp_path / "old")
    (study.folder / "results/demo/evaluations/demo/clip-seed0/openmoji.json").unlink()
    study.snakemake("--touch", **OLD_KEYS)
    assert study.planned(**OLD_KEYS) == {"evaluate": 1, "table": 1, "figure": 3, "report": 1, "study_report": 1}


def load():
    from amorlip.config.load import read_yaml

    return load_study(read_yaml(REPOSITORY / "config/config.yaml"), REPOSITORY / "config")


@pytest.mark.parametrize("old", [old for _, old in OLD_NAMES])
def test_each_old_folder_is_recognized_alone(old: str, tmp_path: Path) -> None:
    """Studies share `results/`, so a second one may be met after the shared folders were moved."""
    (tmp_path / old).mkdir(parents=True)
    with pytest.raises(AmorlipError, match=f"mv {tmp_path / old} ") as caught:
        refuse_old_layout(load(), tmp_path / "results")
    assert "\n" not in str(caught.value) and str(caught.value).count("mv ") == 1


def test_nothing_is_moved_into_a_folder_that_exists(tmp_path: Path) -> None:
    for name in ("benchmarks", "tasks"):
        (tmp_path / name).mkdir()
    with pytest.raises(AmorlipError, match="both exist; move the folders that only .*benchmarks has"):
        refuse_old_layout(load(), tmp_path)


def test_new_and_empty_folders_are_accepted(tmp_path: Path) -> None:
    refuse_old_layout(load(), tmp_path / "missing")
    for new, _ in OLD_NAMES:
        (tmp_path / new).mkdir(parents=True)
    refuse_old_layout(load(), tmp_path / "results")
