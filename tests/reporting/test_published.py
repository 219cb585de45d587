"""Published numbers: the files in config/paper/ are consistent, and others are refused by name."""

from __future__ import annotations

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Benchmark
from amorlip.config.load import read_yaml, validate
from amorlip.reporting.published import read_published
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
    default = {"table2a": "t_online_8", "table2b": "f_d_0.5", "table3": "amortize_all"}[name]
    assert (
        ablation.loc["medium", "amorlip_l2log", default].to_dict() == main.loc["medium", "amorlip_l2log", ""].to_dict()
    )


def test_published_columns_are_those_of_the_papers_benchmark():
    benchmark = validate(Benchmark, read_yaml(CONFIG / "benchmarks" / "datacomp38.yaml"), "datacomp38")
    shown = [column for group in benchmark.columns for column in group.columns]
    assert set(pd.read_csv(PUBLISHED / "table1.csv")["column"]) == set(shown)


def test_published_numbers_in_another_unit_or_form(tmp_path):
    with pytest.raises(AmorlipError, match="in ms, where percent is wanted"):
        published(PUBLISHED / "table2a.csv", ["step_time"])
    (tmp_path / "x.csv").write_text("scale,method\n1,2\n")
    with pytest.raises(AmorlipError, match="x.csv: not a table of published numbers"):
        published(tmp_path / "x.csv", [])
