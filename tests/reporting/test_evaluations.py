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
from amorlip.reporting.evaluations import chance, read_evaluations, scores, summarize


def edit(path: Path, **changes) -> Path:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def read(study) -> pd.DataFrame:
    """Scores of a study's files."""
    return scores(read_evaluations(study.evaluations(), study.runs, study.benchmark), study.runs, study.benchmark)


def test_order_and_names_of_files_do_not_matter(study):
    fake = study(seeds=(0, 1))
    expected = read(fake)
    paths = [path.rename(path.with_name(f"{number}.json")) for number, path in enumerate(fake.evaluations())]
    moved = [path.rename(fake.folder / f"{number}.json") for number, path in enumerate(paths)]
    random.Random(0).shuffle(moved)
    shuffled = scores(read_evaluations(moved, fake.runs, fake.benchmark), fake.runs, fake.benchmark)
    pd.testing.assert_frame_equal(shuffled, expected)
    assert list(expected.index) == [run.key for run in fake.runs]


def test_scores_hold_the_files_values_and_their_plain_means(study):
    fake = study()
    run = fake.runs[1]
    values = {task: 0.01 * (index + 1) for index, task in enumerate(fake.benchmark.tasks)}
    paths = [fake.evaluation(run, task, value) for task, value in values.items()]
    found = scores(read_evaluations(paths, fake.runs, fake.benchmark), fake.runs, fake.benchmark)
    assert found.loc[run.key, list(values)].to_dict() == values
    assert found.loc[run.key, "all"] == pytest.approx(0.05)
    assert found.loc[run.key, "shifts"] == pytest.approx((0.01 + 0.02 + 0.05) / 3)
    assert found.loc[fake.runs[0].key].isna().all()


def test_a_missing_value_leaves_no_average(study):
    fake = study()
    edit(fake.evaluations()[0], value=None)
    paths = sorted((fake.folder / "evaluations").rglob("*.json"))
    found = scores(read_evaluations(paths, fake.runs, fake.benchmark), fake.runs, fake.benchmark)
    first = found.iloc[0]
    assert math.isnan(first["openmoji"]) and math.isnan(first["all"]) and math.isnan(first["shifts"])
    assert not math.isnan(first["digits"])
    assert not found.iloc[1].isna().any()


def test_summary_over_seeds_by_hand(study):
    fake = study(seeds=(0, 1, 2), methods=("clip",))
    values = [0.10, 0.13, 0.19]
    paths = [fake.evaluation(run, "digits", value) for run, value in zip(fake.runs, values, strict=True)]
    paths += [fake.evaluation(fake.runs[1], "sketches", 0.5)]
    frame = read_evaluations(paths, fake.runs, fake.benchmark)
    summary = summarize(scores(frame, fake.runs, fake.benchmark))
    row = ("demo", "clip", "")
    assert summary.mean.at[row, "digits"] == pytest.approx(0.14)
    assert summary.std.at[row, "digits"] == pytest.approx(statistics.stdev(values))
    assert summary.count.at[row, "digits"] == 3
    assert summary.mean.at[row, "sketches"] == 0.5 and math.isnan(summary.std.at[row, "sketches"])
    assert math.isnan(summary.mean.at[row, "openmoji"]) and summary.count.at[row, "openmoji"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"run": {"scale": "demo", "method": "clip", "variant": None, "seed": 5}},
            "seed 5, which is not among",
        ),
        ({"run": {"scale": "demo", "method": "clip"}}, "run.variant: Field required"),
        ({"task": "open_moji"}, "unknown task 'open_moji'; did you mean 'openmoji'"),
        ({"main_metric": "acc5"}, "main metric is 'acc5', the benchmark's is 'acc1'"),
        ({"value": 24.4}, "value: Input should be less than or equal to 1"),
        ({"task": "digits"}, "has the same run and task as"),
    ],
)
def test_bad_evaluations_are_refused_by_name(study, changes, message):
    fake = study()
    paths = fake.evaluations()
    bad = edit(paths[0], **changes)
    with pytest.raises(AmorlipError, match=message):
        read_evaluations([*paths[1:], bad], fake.runs, fake.benchmark)


@pytest.mark.parametrize(("text", "message"), [("{", "Invalid JSON"), ("[1]", "Input should be an object")])
def test_files_that_are_not_evaluations(study, text, message):
    fake = study()
    path = fake.folder / "x.json"
    path.write_text(text)
    with pytest.raises(AmorlipError, match=f"x.json: {message}"):
        read_evaluations([path], fake.runs, fake.benchmark)
    with pytest.raises(AmorlipError, match="No such file"):
        read_evaluations([fake.folder / "none.json"], fake.runs, fake.benchmark)


def test_a_task_and_an_average_need_two_names(study):
    fake = study()
    averages = {**fake.benchmark.averages, "digits": fake.benchmark.averages["all"]}
    benchmark = fake.benchmark.model_copy(update={"averages": averages})
    with pytest.raises(AmorlipError, match="'digits' is a task and an average"):
        scores(read_evaluations([], fake.runs, benchmark), fake.runs, benchmark)


def test_chance_of_an_average_needs_every_task(study):
    guessing = chance(study().benchmark)
    assert guessing["digits"] == 0.1
    assert guessing["shifts"] == pytest.approx((0.0006 + 0.0006 + 0.006) / 3)
    assert math.isnan(guessing["styles"]) and math.isnan(guessing["all"])
