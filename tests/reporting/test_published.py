"""Published numbers: the files in config/paper/ are consistent, and others are refused by name."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Benchmark
from amorlip.config.load import read_yaml, validate
from amorlip.reporting.published import check_files, read_later_work, read_published
from amorlip.study import load_study
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
PUBLISHED = CONFIG / "paper"


def published(path, columns) -> pd.DataFrame:
    """The numbers as a frame with one row per method."""
    return pd.DataFrame.from_dict(read_published(path, columns), orient="index", columns=columns)


@pytest.mark.parametrize(
    ("key", "tasks"),
    [
        (
            "imagenet_shifts",
            ["imagenet1k", "imagenet_sketch", "imagenetv2", "imagenet-a", "imagenet-o", "imagenet-r", "objectnet"],
        ),
        (
            "retrieval_two_tasks",
            ["flickr_1k_test_image_text_retrieval", "mscoco_2014_5k_test_image_text_retrieval"],
        ),
    ],
)
def test_published_averages_are_the_means_of_their_columns(key, tasks):
    table = published(PUBLISHED / "table1.csv", [*tasks, key, "average_38"])
    assert len(table) == 12 and not table.isna().any(axis=None)
    assert (table[tasks].mean(axis=1) - table[key]).abs().max() < 1.01e-4  # printed with two decimals of a percent


@pytest.mark.parametrize("name", ["table2a", "table2b", "table3"])
def test_published_ablations_agree_with_the_main_table(name):
    columns = ["imagenet_shifts", "average_38"]
    main = published(PUBLISHED / "table1.csv", columns)
    ablation = published(PUBLISHED / f"{name}.csv", columns)
    default = ("medium", "amorlip_l2log", "")
    assert ablation.loc[default].to_dict() == main.loc[default].to_dict()


def test_published_columns_are_those_of_the_papers_benchmark():
    benchmark = validate(Benchmark, read_yaml(CONFIG / "benchmarks" / "datacomp38.yaml"), "datacomp38")
    shown = [column for group in benchmark.columns for column in group.columns]
    assert set(pd.read_csv(PUBLISHED / "table1.csv")["column"]) == set(shown)


def test_published_numbers_in_another_unit_or_form(tmp_path):
    with pytest.raises(AmorlipError, match="in ms, where percent is expected"):
        published(PUBLISHED / "table2a.csv", ["step_time"])
    (tmp_path / "x.csv").write_text("scale,method\n1,2\n")
    with pytest.raises(AmorlipError, match="x.csv: not a table of published numbers"):
        published(tmp_path / "x.csv", [])


@pytest.mark.parametrize("name", ["table2a", "table2b", "table3"])
def test_the_ablations_have_an_experiment_with_the_published_rows(name):
    selection = read_yaml(CONFIG / "paper.yaml")
    study = load_study({**selection, "experiments": [*selection["experiments"], name]}, CONFIG)
    rows = {(run.scale, run.method, run.variant or "") for _, run in study.experiment_runs(name)}
    columns = study.experiments[name].options["columns"]
    assert rows == set(read_published(PUBLISHED / f"{name}.csv", columns))
    settings = [json.dumps(run.settings, sort_keys=True) for _, run in study.experiment_runs(name)]
    assert len(set(settings)) == len(settings)  # every variant differs from the others
    (note,) = [note for note in study.experiments[name].options["notes"] if "Retrieval" in note]
    printed = pd.read_csv(PUBLISHED / f"{name}.csv")
    for value in printed[printed["column"] == "retrieval_of_tables_2_and_3"]["value"]:
        assert f"{value:.2f}" in note


def test_the_retrieval_of_tables_2_and_3_is_the_mean_of_three_tasks():
    columns = ["flickr_1k_test_image_text_retrieval", "mscoco_2014_5k_test_image_text_retrieval"]
    two = read_published(PUBLISHED / "table1.csv", columns)["medium", "amorlip_l2log", ""]
    default = read_published(PUBLISHED / "table2a.csv", ["retrieval_of_tables_2_and_3"])["medium", "amorlip_l2log", ""]
    winogavil = 0.2962
    assert (sum(two.values()) + winogavil) / 3 == pytest.approx(default["retrieval_of_tables_2_and_3"], abs=1e-9)


def test_later_work_puts_amorlip_below_fastclip_on_every_corpus():
    later = read_later_work(PUBLISHED / "later_work.csv", ["average_38"])
    assert [one.corpus for one in later.values()] == ["CC3M", "CC12M", "DFN-14M", "DFN-192M", "DFN-1B"]
    for one in later.values():
        scores = {title: round(100 * row["average_38"], 2) for title, row in one.rows.items()}
        assert scores["AmorLIP"] < scores["FastCLIP"] < scores["NeuCLIP"]
    assert later["medium"].pairs == 2_720_000 and later["large"].pairs == 9_190_000
    assert {title: round(100 * row["average_38"], 2) for title, row in later["large"].rows.items()} == {
        "OpenCLIP": 27.91, "SigLIP": 28.60, "AmorLIP": 29.86, "FastCLIP": 31.50, "NeuCLIP": 31.89,
    }  # fmt: skip


def test_files_of_published_numbers_are_read_before_any_job(tmp_path):
    """Else the table fails at the end of the study, after all training."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    study = load_study(read_yaml(REPOSITORY / "config" / "paper.yaml"), tmp_path / "config")
    check_files(study)
    for content in ("scale,method\n", "scale,method,variant,column,value,unit\nmedium,clip,,imagenet1k,x,percent\n"):
        (tmp_path / "config" / "paper" / "table1.csv").write_text(content)
        with pytest.raises(AmorlipError, match=r"table1\.csv: not a table of published numbers"):
            check_files(study)
