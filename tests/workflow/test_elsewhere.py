"""The workflow outside its repository: another working directory, and as a module of another workflow."""

from __future__ import annotations

import pytest
import yaml

from tests.workflow.conftest import REPOSITORY, Study

pytestmark = pytest.mark.workflow

SMALL = {"name": "mine", "seeds": [0, 1]}
MODULE = f"""
configfile: "mine.yaml"

module amorlip:
    snakefile: "{REPOSITORY / "workflow/Snakefile"}"
    config: config

use rule * from amorlip as amorlip_*

rule everything:
    default_target: True
    input: rules.amorlip_all.input
"""


def runs(folder, name="mine"):
    return {path.name for path in (folder / f"results/{name}/runs/demo").iterdir()}


def test_a_small_file_and_another_directory(tmp_path):
    """Defaults come from the repository, results go to the working directory."""
    study = Study(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SMALL))
    arguments = ["--directory", str(tmp_path / "elsewhere"), "--configfile", "mine.yaml"]
    study.snakemake("--quiet", *arguments, "--until", "train")
    assert runs(tmp_path / "elsewhere") == {f"{m}-seed{n}" for m in ("clip", "amorlip_l2log") for n in (0, 1)}
    assert not (tmp_path / "results").exists()


def test_as_a_module(tmp_path):
    """To the report, which calls Snakemake with the importing Snakefile; then nothing is left to do."""
    study = Study(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**SMALL, "seeds": [0]}))
    (tmp_path / "Snakefile").write_text(MODULE)
    arguments = ["--snakefile", str(tmp_path / "Snakefile"), "--cores", "2"]
    study.snakemake("--quiet", *arguments)
    assert runs(tmp_path) == {"clip-seed0", "amorlip_l2log-seed0"}
    assert (tmp_path / "results/mine/report.html").stat().st_size > 10_000
    assert "Nothing to be done" in study.snakemake("-n", *arguments)
