"""Numbers belong to the run that their file names, and to nothing else."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Benchmark
from amorlip.config.load import read_yaml, validate
from amorlip.reporting import collect
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
PUBLISHED = CONFIG / "paper"


def edit(path: Path, **changes) -> Path:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def read(study) -> pd.DataFrame:
    """Scores of a study's files."""
    return collect.scores(
        collect.evaluations(study.evaluations(), study.runs, study.benchmark), study.runs, study.benchmark
    )


def test_order_and_names_of_files_do_not_matter(study):
    fake = study(seeds=(0, 1))
    expected = read(fake)
    paths = [path.rename(path.with_name(f"{number}.json")) for number, path in enumerate(fake.evaluations())]
    moved = [path.rename(fake.folder / f"{number}.json") for number, path in enumerate(paths)]
    random.Random(0).shuffle(moved)
    shuffled = collect.scores(collect.evaluations(moved, fake.runs, fake.benchmark), fake.runs, fake.benchmark)
    pd.testing.assert_frame_equal(shuffled, expected)
    assert list(expected.index) == [run.key for run in fake.runs]


def test_scores_hold_the_files_values_and_their_plain_means(study):
    fake = study()
    scores = read(fake)
    run = fake.runs[1]
    values = {task: 0.01 * (index + 1) for index, task in enumerate(fake.benchmark.tasks)}
    paths = [fake.evaluation(run, task, value) for task, value in values.items()]
    scores = collect.scores(collect.evaluations(paths, fake.runs, fake.benchmark), fake.runs, fake.benchmark)
    assert scores.loc[run.key, list(values)].to_dict() == values
    assert scores.loc[run.key, "all"] == pytest.approx(0.05)
    assert scores.loc[run.key, "shifts"] == pytest.approx((0.01 + 0.02 + 0.05) / 3)
    assert scores.loc[fake.runs[0].key].isna().all()


def test_a_missing_value_leaves_no_average(study):
    fake = study()
    edit(fake.evaluations()[0], value=None)
    paths = sorted((fake.folder / "evaluations").rglob("*.json"))
    scores = collect.scores(collect.evaluations(paths, fake.runs, fake.benchmark), fake.runs, fake.benchmark)
    first = scores.iloc[0]
    assert math.isnan(first["openmoji"]) and math.isnan(first["all"]) and math.isnan(first["shifts"])
    assert not math.isnan(first["digits"])
    assert not scores.iloc[1].isna().any()


def test_summary_over_seeds_by_hand(study):
    fake = study(seeds=(0, 1, 2), methods=("clip",))
    values = [0.10, 0.13, 0.19]
    paths = [fake.evaluation(run, "digits", value) for run, value in zip(fake.runs, values, strict=True)]
    paths += [fake.evaluation(fake.runs[1], "sketches", 0.5)]
    frame = collect.evaluations(paths, fake.runs, fake.benchmark)
    summary = collect.summarize(collect.scores(frame, fake.runs, fake.benchmark))
    row = ("demo", "clip", "")
    assert summary.mean.at[row, "digits"] == pytest.approx(0.14)
    assert summary.std.at[row, "digits"] == pytest.approx(statistics.stdev(values))
    assert summary.count.at[row, "digits"] == 3
    assert summary.mean.at[row, "sketches"] == 0.5 and math.isnan(summary.std.at[row, "sketches"])
    assert math.isnan(summary.mean.at[row, "openmoji"]) and summary.count.at[row, "openmoji"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"scale": "demo", "method": "clip", "variant": None, "seed": 5}}, "seed 5, which is not among those"),
        ({"run": {"scale": "demo", "method": "clip"}}, "does not name its run"),
        ({"task": "open_moji"}, "unknown task 'open_moji'; did you mean 'openmoji'"),
        ({"main_metric": "acc5"}, "main metric 'acc5', but the benchmark says 'acc1'"),
        ({"value": 24.4}, "value 24.4 is no fraction"),
        ({"value": "0.2"}, "value '0.2' is no fraction"),
        ({"task": "digits"}, "the same run and task as"),
    ],
)
def test_bad_evaluations_are_refused_by_name(study, changes, message):
    fake = study()
    paths = fake.evaluations()
    bad = edit(paths[0], **changes)
    with pytest.raises(AmorlipError, match=message):
        collect.evaluations([*paths[1:], bad], fake.runs, fake.benchmark)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[1]", "expected a JSON object")])
def test_files_that_are_no_evaluation(study, text, message):
    fake = study()
    path = fake.folder / "x.json"
    path.write_text(text)
    with pytest.raises(AmorlipError, match=f"x.json: {message}"):
        collect.evaluations([path], fake.runs, fake.benchmark)
    with pytest.raises(AmorlipError, match="No such file"):
        collect.evaluations([fake.folder / "none.json"], fake.runs, fake.benchmark)


def test_a_task_and_an_average_need_two_names(study):
    fake = study()
    averages = {**fake.benchmark.averages, "digits": fake.benchmark.averages["all"]}
    benchmark = fake.benchmark.model_copy(update={"averages": averages})
    with pytest.raises(AmorlipError, match="'digits' is a task and an average"):
        collect.scores(collect.evaluations([], fake.runs, benchmark), fake.runs, benchmark)


def test_chance_of_an_average_needs_every_task(study):
    guessing = collect.chance(study().benchmark)
    assert guessing["digits"] == 0.1
    assert guessing["shifts"] == pytest.approx((0.0006 + 0.0006 + 0.006) / 3)
    assert math.isnan(guessing["styles"]) and math.isnan(guessing["all"])


# ---------------------------------------------------------------- metrics


def test_metrics_of_seeds_are_summarized_by_step(study):
    fake = study(seeds=(0, 1, 2), epochs=2)
    logged = collect.metrics(fake.metrics()[::-1], fake.runs)
    line = collect.over_seeds(logged.steps, "step", "logit_scale")["demo", "amorlip_l2log", ""]
    assert list(line.index) == list(range(5, 61, 5)) and (line["count"] == 3).all()
    epochs = logged.epochs[(logged.epochs.metric == "acc1") & (logged.epochs.method == "clip")]
    accuracy = collect.over_seeds(epochs, "epoch", "value")["demo", "clip", ""]
    assert list(accuracy.index) == [1, 2]
    by_hand = epochs[epochs.epoch == 2].value.tolist()
    assert accuracy.loc[2, "mean"] == pytest.approx(statistics.mean(by_hand))
    assert accuracy.loc[2, "std"] == pytest.approx(statistics.stdev(by_hand))
    assert (accuracy.loc[2, "min"], accuracy.loc[2, "max"]) == (min(by_hand), max(by_hand))


def test_a_quantity_that_only_one_method_logs(study):
    fake = study()
    logged = collect.metrics(fake.metrics(), fake.runs)
    assert list(collect.over_seeds(logged.steps, "step", "log_z_unexplained")) == [("demo", "amorlip_l2log", "")]
    assert collect.over_seeds(logged.steps, "step", "nothing") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "step"}\n', "first line is not of kind 'run'"),
        ("", "first line is not of kind 'run'"),
        ('{"kind": "run", "scale": "demo", "method": "clip", "variant": null, "seed": 9}\n', "seed 9, which is not"),
        ('{"kind": "run", "scale": "demo", "method": "clip", "variant": null, "seed": 0}\n{"ki', "line 2: not valid"),
    ],
)
def test_bad_metrics_are_refused_by_name(study, text, message):
    fake = study()
    path = fake.folder / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(AmorlipError, match=f"metrics.jsonl.*{message}"):
        collect.metrics([path], fake.runs)


def test_the_same_metrics_twice(study):
    fake = study()
    paths = fake.metrics()
    with pytest.raises(AmorlipError, match="the same run as"):
        collect.metrics([*paths, paths[0]], fake.runs)


# ---------------------------------------------------------------- published numbers


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
    table = collect.published(PUBLISHED / "table1.csv", [*tasks, key, "average_38"])
    assert len(table) == 12 and not table.isna().any(axis=None)
    assert (table[tasks].mean(axis=1) - table[key]).abs().max() < 1.01e-4  # printed with two decimals of a percent


@pytest.mark.parametrize("name", ["table2a", "table2b", "table3"])
def test_published_ablations_agree_with_the_main_table(name):
    columns = ["imagenet_shifts", "average_38"]
    main = collect.published(PUBLISHED / "table1.csv", columns)
    ablation = collect.published(PUBLISHED / f"{name}.csv", columns)
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
        collect.published(PUBLISHED / "table2a.csv", ["step_time"])
    (tmp_path / "x.csv").write_text("scale,method\n1,2\n")
    with pytest.raises(AmorlipError, match="x.csv: no table of published numbers"):
        collect.published(tmp_path / "x.csv", [])
