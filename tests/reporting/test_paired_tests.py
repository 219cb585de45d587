"""The table of paired tests: from predictions to counts of tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.experiment import Experiment
from amorlip.reporting import tables

TASKS = ["digits", "sketches", "subgroups"]


def predict(fake, answers, keys=None) -> list:
    """Write evaluations with predictions; `answers`: (method, task, seed) → whether each sample is correct."""
    paths = []
    for run in fake.runs:
        for task in TASKS:
            correct = np.asarray(answers(run.method, task, run.seed), dtype=bool)
            paths.append(fake.evaluation(run, task, float(correct.mean())))
            names = [f"s{number}" for number in range(len(correct))] if keys is None else keys(run.method)
            pd.DataFrame({"key": names, "correct": correct}).to_parquet(paths[-1].with_suffix(".parquet"))
    return paths


def render(fake, paths, **options):
    experiment = Experiment(kind="table", function="paired_tests", title="T", caption="c", options=options)
    outputs = {form: fake.folder / f"t.{form}" for form in ("csv", "md", "tex", "html")}
    tables.write("t", fake.shown(experiment, evaluations=paths), outputs)
    return pd.read_csv(outputs["csv"]), outputs["md"].read_text()


def flipped(method, task, seed):
    """CLIP is right on 50 of 100; the other gains 20 in digits, loses 20 in sketches, and swaps 3 in subgroups."""
    right = np.arange(100) < 50
    if method != "clip":
        change = {"digits": slice(50, 70), "sketches": slice(0, 20), "subgroups": slice(47, 53)}[task]
        right[change] = ~right[change]
    return right


def test_counts_and_p_values_by_hand(study):
    fake = study()
    frame, text = render(fake, predict(fake, flipped))
    frame = frame.set_index("task")
    assert frame.loc["digits", ["samples", "better", "worse"]].tolist() == [100, 20, 0]
    assert frame.loc["sketches", ["better", "worse"]].tolist() == [0, 20]
    assert frame.loc["subgroups", ["better", "worse"]].tolist() == [3, 3]
    assert frame["p"].tolist() == pytest.approx([2 / 2**20, 2 / 2**20, 1], rel=1e-2)
    assert frame.loc["digits", "p_holm"] == pytest.approx(3 * 2 / 2**20, rel=1e-2)
    assert "| Demo | AmorLIP l2-log | 3 | 1 | 1 | 1 |" in text and "better or worse than CLIP." in text


def test_a_sample_counts_for_the_method_that_is_right_on_it_with_more_seeds(study):
    fake = study(seeds=(0, 1))
    frame, _ = render(
        fake, predict(fake, lambda method, task, seed: [method != "clip", seed == 0 or method != "clip", seed == 0])
    )
    assert frame[["better", "worse"]].to_numpy().tolist() == [[2, 0]] * 3


def test_other_samples_missing_predictions_and_other_kinds_of_tasks_are_refused(study):
    fake = study()
    paths = predict(fake, flipped, keys=lambda method: [f"{method}{number}" for number in range(100)])
    with pytest.raises(AmorlipError, match="digits: 'amorlip_l2log' and the baseline were evaluated on different"):
        render(fake, paths)
    with pytest.raises(AmorlipError, match="unknown task of classification 'retrieval'"):
        render(fake, paths, tasks=["retrieval"])
    paths[0].with_suffix(".parquet").unlink()
    with pytest.raises(AmorlipError, match="digits.parquet: no predictions of an evaluation"):
        render(fake, paths)
