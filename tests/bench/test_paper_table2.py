"""Measuring the costs in Table 2: its rows, CLIP before and after each, and the files. No test depends on a time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from amorlip.bench import paper_table2, train
from amorlip.bench.steps import PARTS, Timing
from amorlip.common.errors import AmorlipError
from amorlip.reporting.cost import read_benchmark

TIMING = Timing(
    step_ms=100, parts_ms=dict.fromkeys(PARTS, 20.0), host_ms=9, peak_mib=1000, reserved_mib=1100, device="GPU",
    text_positions=30,
)  # fmt: skip


def test_the_rows_are_those_of_the_paper():
    clip, *others = paper_table2.paper_runs()
    assert (clip.method, clip.recipe.model, clip.recipe.batch_size) == ("clip", "RN50", 1024)
    assert {run.method for run in others} == {"amorlip_l2log"}
    measured = sorted((run.settings["t_online"], run.settings["f_d"]) for run in others)
    assert measured == [(1, 0.5), (2, 0.5), (8, 0.25), (8, 0.5), (8, 1.0), (8, 2.0), (32, 0.5)]


def test_clip_is_measured_before_and_after_each_row(monkeypatch, tmp_path):
    """On a machine that becomes slower by 10 ms with each measurement, AmorLIP takes 2% more."""
    order = []

    def timing(case, _scratch):
        order.append(case.run.variant or case.run.method)
        clip_ms = 100 + 10 * (len(order) - 1)
        return replace(TIMING, step_ms=clip_ms * (1 if case.run.method == "clip" else 1.02))

    monkeypatch.setattr(train, "timing_of", timing)
    found = paper_table2.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, only=["t_online_*"])
    assert order == ["clip", "t_online_1", "clip", "t_online_2", "clip", "t_online_32", "clip"]
    assert [round(record.step_time_over_clip, 9) for record in found] == [0, 2, 2, 2]
    assert read_benchmark(tmp_path / "t.json") == found
    assert (tmp_path / "t.md").read_text().count("2.00%") == 3


def test_a_row_that_fails_is_named_and_the_others_are_measured(monkeypatch, tmp_path):
    def timing(case, _scratch):
        if case.run.variant == "f_d_2":
            raise AmorlipError("out of memory")
        return TIMING

    monkeypatch.setattr(train, "timing_of", timing)
    with pytest.raises(AmorlipError, match="1 cases failed.*f_d_2: out of memory"):
        paper_table2.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True)
    assert len(json.loads((tmp_path / "t.json").read_text())) == 7
