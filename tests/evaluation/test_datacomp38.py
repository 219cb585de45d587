"""config/benchmarks/datacomp38.yaml agrees with what is known about DataComp's 38 tasks."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from amorlip.config.benchmark import Benchmark
from amorlip.config.load import read_yaml, validate
from amorlip.evaluation.aggregate import averages
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
SHIFTS = ["imagenet1k", "imagenet_sketch", "imagenetv2", "imagenet-a", "imagenet-o", "imagenet-r", "objectnet"]
RETRIEVAL = ["flickr_1k_test_image_text_retrieval", "mscoco_2014_5k_test_image_text_retrieval"]


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    path = CONFIG / "benchmarks" / "datacomp38.yaml"
    return validate(Benchmark, read_yaml(path), str(path))


def test_counts_and_sums(benchmark):
    tasks = benchmark.tasks.values()
    assert len(tasks) == 38
    assert Counter(task.kind for task in tasks) == {
        "classification": 30, "classification_grouped": 5, "retrieval": 2, "association": 1
    }  # fmt: skip
    assert Counter(task.main_metric for task in tasks) == {
        "acc1": 27, "mean_per_class_recall": 4, "mean_recall@1": 2, "jaccard_score_10-12": 1, "F1-macro_all": 1,
        "acc_worst_region": 1, "acc_top5_wg": 1, "acc_wg": 1,
    }  # fmt: skip
    assert sum(task.samples for task in tasks if task.classes) == 687_806
    assert sum(task.classes or 0 for task in tasks) == 5_630
    assert all((task.classes is None) == (task.kind in ("retrieval", "association")) for task in tasks)


def test_sources(benchmark):
    repositories = [task.source.repository for task in benchmark.tasks.values()]
    assert len(set(repositories)) == 38
    assert sum(name.startswith("djghosh/wds_") and name.endswith("_test") for name in repositories) == 35
    assert sum(name.startswith("nlphuji/") for name in repositories) == 3
    assert {task.source.kind for task in benchmark.tasks.values()} == {"hub"}


def test_transparency_is_dropped_as_in_clip_benchmark(benchmark):
    assert {task.transparency for task in benchmark.tasks.values()} == {"drop"}


def test_some_tasks_by_name(benchmark):
    imagenet = benchmark.tasks["imagenet1k"]
    assert (imagenet.samples, imagenet.classes, imagenet.random_score) == (50_000, 1_000, 0.001)
    assert benchmark.tasks["pcam"].random_score == 0.5
    assert benchmark.tasks[RETRIEVAL[0]].samples == 1_000
    assert benchmark.tasks[RETRIEVAL[1]].samples == 5_000
    assert [task.main_metric for key, task in benchmark.tasks.items() if key in ("caltech101", "pets", "flowers")] == [
        "mean_per_class_recall"
    ] * 3


def test_a_balanced_set_is_guessed_at_one_in_its_classes(benchmark):
    for key in ("cifar10", "cifar100", "dtd", "food101", "imagenet1k", "stl10", "fgvc_aircraft", "pets"):
        task = benchmark.tasks[key]
        assert task.random_score == pytest.approx(1 / task.classes, abs=1e-6)


def test_groups(benchmark):
    grouped = {key: task for key, task in benchmark.tasks.items() if task.kind == "classification_grouped"}
    assert {key: (len(task.metadata), task.group_by) for key, task in grouped.items()} == {
        "iwildcam": (9, "location"),
        "camelyon17": (3, "slide"),
        "fmow": (3, "region"),
        "dollar_street": (3, "income_ds"),
        "geode": (2, "region"),
    }
    assert grouped["fmow"].main_metric == f"acc_worst_{grouped['fmow'].group_by}"


def test_averages(benchmark):
    values = {key: number / 100 for number, key in enumerate(benchmark.tasks)}
    result = averages(benchmark, values)
    assert list(result) == ["imagenet_shifts", "vtab", "retrieval_two_tasks", "retrieval_three_tasks", "average_38"]
    assert result["average_38"] == pytest.approx(0.185)
    assert result["imagenet_shifts"] == pytest.approx(sum(values[key] for key in SHIFTS) / 7)
    assert result["retrieval_two_tasks"] == pytest.approx(sum(values[key] for key in RETRIEVAL) / 2)
    assert len(benchmark.averages["vtab"].tasks) == 13 and "sun397" in benchmark.averages["vtab"].tasks
    del values["winogavil"]
    result = averages(benchmark, values)
    assert result["average_38"] is None and result["retrieval_three_tasks"] is None
    assert result["retrieval_two_tasks"] is not None


def test_columns_are_those_of_the_papers_main_table(benchmark):
    columns = [column for group in benchmark.columns for column in group.columns]
    assert columns == [*SHIFTS, "imagenet_shifts", *RETRIEVAL, "retrieval_two_tasks", "average_38"]
    with (CONFIG / "paper" / "table1.csv").open(encoding="utf-8") as file:
        assert {row["column"] for row in csv.DictReader(file)} == set(columns)


def test_every_main_metric_can_come_from_its_evaluator(benchmark):
    for key, task in benchmark.tasks.items():
        if task.main_metric.startswith(("acc_wg", "acc_top5_wg", "acc_worst")):
            assert task.group_by, key
        if "5" in task.main_metric.partition("acc_top")[2]:
            assert task.classes >= 5, key
