"""What is printed at the end of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from amorlip.config.load import merge
from amorlip.study import Study, load_study
from amorlip.summary import summary
from tests.helpers import REPOSITORY

CSV = """scale,method,variant,seeds,digits,openmoji,quickdraw,average
,chance,,,10.0000,0.0583,0.6452,
demo,clip,,1,8.7500,5.5426,1.3871,19.8674
demo,amorlip_l2log,fast,1,9.6500,5.6009,,19.7814
"""


def study(**changes: Any) -> Study:
    selection = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    return load_study(merge(selection, changes), REPOSITORY / "config")


def test_the_main_table_the_report_and_the_time(tmp_path: Path) -> None:
    (tmp_path / "demo/tables").mkdir(parents=True)
    (tmp_path / "demo/tables/table1.csv").write_text(CSV)
    (tmp_path / "demo/report.html").touch()
    (tmp_path / "demo/study.html").touch()
    lines = summary(study(), tmp_path, 3725.2).splitlines()
    assert "           chance   clip  amorlip_l2log fast" in lines
    (openmoji,) = (line for line in lines if line.startswith("OpenMoji"))
    assert openmoji.split() == ["OpenMoji", "0.06", "5.54", "5.60"]
    (average,) = (line for line in lines if line.startswith("Average"))
    assert average.split() == ["Average", "19.87", "19.78"]
    assert f"Report: {tmp_path / 'demo/study.html'}" in lines
    assert f"Snakemake's report: {tmp_path / 'demo/report.html'}" in lines
    assert "Time: 1:02:05" in lines


@pytest.mark.parametrize("text", [None, "", "scale,method\n", '{"stage": "table"}', CSV.splitlines()[0]])
def test_without_a_table(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "demo/tables").mkdir(parents=True)
    if text is not None:
        (tmp_path / "demo/tables/table1.csv").write_text(text)
    assert summary(study(), tmp_path, 5).split("\n") == ["", "Time: 0:00:05", ""]
    assert summary(study(experiments=["training_curves"]), tmp_path, 5) == summary(study(), tmp_path, 5)


def test_several_scales_are_named(tmp_path: Path) -> None:
    (tmp_path / "demo/tables").mkdir(parents=True)
    (tmp_path / "demo/tables/table1.csv").write_text(CSV.replace("demo,amorlip_l2log,fast", "large,clip,"))
    assert "large clip" in summary(study(), tmp_path, 5)
