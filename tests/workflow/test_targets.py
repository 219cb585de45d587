"""Tables and figures by name, and what is printed at the end of a whole study only."""

from __future__ import annotations

import shutil

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.load import read_yaml
from amorlip.study import load_study, refuse_names
from tests.helpers import REPOSITORY

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def unreported(finished, tmp_path_factory):
    """A study whose evaluations are finished and whose tables and figures are gone."""
    study = finished.copy(tmp_path_factory.mktemp("unreported") / "study")
    for kind in ("tables", "figures"):
        shutil.rmtree(study.folder / "results/demo" / kind)
    return study


def test_all_tables_all_figures_and_each_are_targets(unreported):
    assert unreported.planned("tables", "figures") == {"table": 1, "tables": 1, "figure": 3, "figures": 1}
    assert unreported.planned("table1") == {"table": 1, "table1": 1}
    assert unreported.planned("training_curves") == {"figure": 1, "training_curves": 1}
    assert unreported.planned("results/demo/tables/table1.tex") == {"table": 1}


def test_an_experiment_that_the_study_lacks_is_named_with_what_to_do(unreported):
    said = unreported.snakemake("-n", "table2a", fails=True)
    assert "'table2a' is not one of the study's experiments" in said
    assert "'experiments=[table1, accuracy_over_epochs, difference_to_clip, training_curves, table2a]'" in said


def test_the_end_of_a_study_is_printed_only_for_the_whole_study(unreported):
    assert "Report: " not in unreported.snakemake("-n")
    assert "Report: " not in unreported.snakemake("table1")
    assert (unreported.folder / "results/demo/tables/table1.html").is_file()
    assert not (unreported.folder / "results/demo/figures").exists()
    said = unreported.snakemake()
    assert "Report: results/demo/study.html" in said and "Time: 0:0" in said


def test_an_experiment_may_not_have_the_name_of_a_rule():
    config = REPOSITORY / "config"
    study = load_study(read_yaml(config / "config.yaml"), config)
    refuse_names(study, {"all", "table"})
    with pytest.raises(AmorlipError, match="'table1' is the name of a rule; rename the experiment's file"):
        refuse_names(study, {"all", "table1"})
