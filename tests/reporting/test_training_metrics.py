"""Curves of training, from the runs' own logs."""

from __future__ import annotations

import statistics

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.reporting.training_metrics import over_seeds, read_training_metrics


def test_metrics_of_seeds_are_summarized_by_step(study):
    fake = study(seeds=(0, 1, 2), epochs=2)
    logged = read_training_metrics(fake.metrics()[::-1], fake.runs)
    line = over_seeds(logged.steps, "step", "logit_scale")["demo", "amorlip_l2log", ""]
    assert list(line.index) == list(range(5, 61, 5)) and (line["count"] == 3).all()
    epochs = logged.epochs[(logged.epochs.metric == "acc1") & (logged.epochs.method == "clip")]
    accuracy = over_seeds(epochs, "epoch", "value")["demo", "clip", ""]
    assert list(accuracy.index) == [1, 2]
    by_hand = epochs[epochs.epoch == 2].value.tolist()
    assert accuracy.loc[2, "mean"] == pytest.approx(statistics.mean(by_hand))
    assert accuracy.loc[2, "std"] == pytest.approx(statistics.stdev(by_hand))
    assert (accuracy.loc[2, "min"], accuracy.loc[2, "max"]) == (min(by_hand), max(by_hand))


def test_a_quantity_that_only_one_method_logs(study):
    fake = study()
    logged = read_training_metrics(fake.metrics(), fake.runs)
    assert list(over_seeds(logged.steps, "step", "log_z_unexplained")) == [("demo", "amorlip_l2log", "")]
    assert over_seeds(logged.steps, "step", "nothing") == {}


RUN = """\
{{"kind": "run", "scale": "demo", "method": "clip", "variant": null, "seed": {seed}, "steps_per_epoch": 5, "epochs": 2,\
 "samples": 9, "parameters": 7}}
"""
STEP = """\
{"kind": "step", "step": 1, "epoch": 1, "samples_seen": 8, "lr": 0.1, "loss": 1.0, "grad_norm": 1.0,\
 "skipped_steps": 0, "samples_per_s": 1.0}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STEP, "first line is not of kind 'run'"),
        ("", "first line is not of kind 'run'"),
        (RUN.format(seed=9), "seed 9, which is not"),
        (RUN.format(seed=0) + '{"ki', "line 2: .*JSON"),
        (RUN.format(seed=0) + '{"kind": "step", "step": "five"}\n', "line 2: step"),
        (RUN.format(seed=0) + '{"kind": "stop"}\n', "line 2: .*'stop'"),
    ],
)
def test_bad_metrics_are_refused_by_name(study, text, message):
    fake = study()
    path = fake.folder / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(AmorlipError, match=f"metrics.jsonl.*{message}"):
        read_training_metrics([path], fake.runs)


def test_the_same_metrics_twice(study):
    fake = study()
    paths = fake.metrics()
    with pytest.raises(AmorlipError, match="the same run as"):
        read_training_metrics([*paths, paths[0]], fake.runs)
