from __future__ import annotations

import json

import pytest

from amorlip.bench import evaluation as bench
from amorlip.errors import AmorlipError

KEYS = ["case", "ours_per_s", "peer_per_s", "ratio", "peak_mib", "peer_peak_mib"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(bench.memory, "peak_mib", lambda prepare, *arguments: len(prepare(*arguments)()))


def test_every_case_of_the_comparison(tmp_path):
    """Small sets; the run itself compares both sides' results."""
    sizes = {"classification": 150, "retrieval": 40, "retrieval metrics": 130, "association": 8}
    cases = [bench.Case(case.name, sizes[case.name], case.unit) for case in bench.CASES]
    results = bench.run(tmp_path / "e.json", tmp_path / "e.md", cases, rounds=1)
    written = json.loads((tmp_path / "e.json").read_text())
    assert [list(line) for line in written] == [KEYS] * 4
    assert all(line["ratio"] == pytest.approx(line["ours_per_s"] / line["peer_per_s"], rel=1e-2) for line in written)
    assert [result.case for result in results] == [case.title for case in cases]
    assert "| association (8 rounds) |" in (tmp_path / "e.md").read_text()


def test_sides_that_disagree_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setitem(bench.SIDES, ("retrieval metrics", "ours"), lambda folder: lambda: dict.fromkeys(
        [f"{kind}_retrieval_recall@{k}" for kind in ("image", "text") for k in (1, 5, 10)], 0.5
    ))  # fmt: skip
    with pytest.raises(AmorlipError, match="retrieval metrics .* is 0.5 here and"):
        bench.run(tmp_path / "e.json", tmp_path / "e.md", [bench.Case("retrieval metrics", 130, "images")], rounds=1)
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize("side", ["ours", "peer"])
@pytest.mark.parametrize("name", ["classification", "retrieval", "association"])
def test_the_model_is_made_before_anything_is_timed(tmp_path, monkeypatch, name, side):
    made, make = [], bench._model
    monkeypatch.setattr(bench, "_model", lambda: made.append(name) or make())
    bench.WRITERS[name](tmp_path, 12)
    call = bench.SIDES[name, side](tmp_path)
    assert made == [name]
    call()
    assert made == [name]
