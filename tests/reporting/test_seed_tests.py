"""The columns of paired differences over seeds: by hand, in every format."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy import stats

from amorlip.reporting import significance, tables

GAINS = {"siglip": [-0.02, -0.02, -0.02], "amorlip_l2log": [0.01, 0.03, 0.02]}
"""Method → what it has more than CLIP with each seed, on every task."""


def evaluations(fake, leave_out=()):
    paths = []
    for run in fake.runs:
        if (run.method, run.seed) in leave_out:
            continue
        value = 0.3 + 0.1 * run.seed + (GAINS[run.method][run.seed] if run.method in GAINS else 0)
        paths += [fake.evaluation(run, task, value) for task in fake.benchmark.tasks]
    return paths


def render(fake, experiment, paths, **options):
    experiment = experiment.model_copy(update={"options": {"seed_tests": True, **options}})
    outputs = {form: fake.folder / f"t.{form}" for form in ("csv", "md", "tex", "html")}
    tables.write("t", fake.shown(experiment, evaluations=paths), outputs)
    text = {form: path.read_text(encoding="utf-8") for form, path in outputs.items()}
    return pd.read_csv(outputs["csv"]).set_index("method"), text


def last_cells(text: str, title: str) -> list[str]:
    row = next(line for line in text.splitlines() if title in line)
    return [cell.strip() for cell in row.split("|")[-4:-1]]


def test_differences_and_p_values_by_hand(study, table_experiment):
    fake = study(methods=("clip", "siglip", "amorlip_l2log"), seeds=(0, 1, 2))
    frame, text = render(fake, table_experiment, evaluations(fake))
    p = stats.ttest_1samp([1, 3, 2], 0).pvalue  # t = 2/(1/√3), two degrees of freedom
    half = 4.303 / math.sqrt(3)
    found = frame.loc["amorlip_l2log"]
    assert found["difference"] == pytest.approx(2) and found["p"] == pytest.approx(p, abs=1e-4)
    assert found["difference_high"] - 2 == pytest.approx(half, abs=1e-3) == 2 - found["difference_low"]
    assert found["p_holm"] == pytest.approx(p, abs=1e-4)  # the larger of two
    assert last_cells(text["md"], "AmorLIP l2-log") == [f"+2.00 ± {half:.2f}", f"{p:.2g}", f"{p:.2g}"]
    assert last_cells(text["md"], "SigLIP") == ["−2.00 ± 0.00", "< 0.0001", "< 0.0001"]
    assert last_cells(text["md"], "| CLIP") == ["", "", ""]
    assert all("+2.00" in text[form] for form in ("tex", "html")) and "Difference from CLIP" in text["md"]
    assert pd.isna(frame.loc["clip", "p"]) and pd.isna(frame.loc["chance", "p"])


def test_only_seeds_that_both_have_are_pairs(study, table_experiment):
    fake = study(methods=("clip", "amorlip_l2log"), seeds=(0, 1, 2))
    frame, text = render(fake, table_experiment, evaluations(fake, leave_out={("clip", 0)}))
    assert frame.loc["amorlip_l2log", "difference"] == pytest.approx(2.5) and "(2 of them)" in text["md"]
    frame, text = render(fake, table_experiment, evaluations(fake, leave_out={("clip", 0), ("amorlip_l2log", 1)}))
    assert "p" not in frame and "Difference from" not in text["md"]  # one pair is left


def test_one_seed_adds_nothing(study, table_experiment):
    fake = study(methods=("clip", "amorlip_l2log"))
    paths = evaluations(fake)
    with_tests = render(fake, table_experiment, paths)[1]
    assert with_tests == render(fake, table_experiment, paths, seed_tests=False)[1]


def test_each_scale_is_corrected_alone(study, table_experiment):
    fake = study(methods=("clip", "siglip", "amorlip_l2log"), seeds=(0, 1, 2), scales=("medium", "large"))
    frame, _ = render(fake, table_experiment, evaluations(fake))
    assert len(set(frame.loc["amorlip_l2log", "p_holm"])) == 1
    assert frame.loc["amorlip_l2log", "p_holm"].tolist() == pytest.approx(frame.loc["amorlip_l2log", "p"].tolist())


def test_equal_differences_leave_no_doubt():
    assert significance.paired_t([1.0, 1.0]) == (1, 1, 0) and significance.paired_t([0.0, 0.0]) == (0, 0, 1)
    assert all(math.isnan(value) for value in significance.paired_t([1.0]))
