from __future__ import annotations

import json

import pytest
import torch

from amorlip.bench import evaluation as bench
from amorlip.common.errors import AmorlipError

KEYS = ["case", "ours_per_s", "peer_per_s", "ratio", "peak_mib", "peer_peak_mib"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(bench.memory, "peak_mib", lambda prepare, *arguments: len(prepare(*arguments)()))


def test_every_case_of_the_comparison(tmp_path):
    """Small sets; the run itself compares both sides' results."""
    sizes = {"classification": 150, "retrieval": 40, "association": 8}
    cases = [bench.Case(case.name, sizes.get(case.name, 130), case.unit) for case in bench.CASES]
    results = bench.run(tmp_path / "e.json", tmp_path / "e.md", cases, rounds=1)
    written = json.loads((tmp_path / "e.json").read_text())
    assert [list(line) for line in written] == [KEYS] * 5
    assert all(line["ratio"] == pytest.approx(line["ours_per_s"] / line["peer_per_s"], rel=1e-2) for line in written)
    assert [result.case for result in results] == [case.title for case in cases]
    assert "| association (8 rounds) |" in (tmp_path / "e.md").read_text()


def test_sides_that_disagree_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setitem(bench.SIDES, ("retrieval metrics", "ours"), lambda folder: lambda: dict.fromkeys(
        [f"{kind}_retrieval_recall@{k}" for kind in ("image", "text") for k in (1, 5, 10)], 0.5
    ))  # fmt: skip
    with pytest.raises(AmorlipError, match="retrieval metrics .* is 0.5 here and"):
        bench.run(tmp_path / "e.json", tmp_path / "e.md", [bench.Case("retrieval metrics", 130, "images")], rounds=1)
    assert json.loads((tmp_path / "e.json").read_text()) == []


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


@pytest.mark.parametrize("case", bench.CASES, ids=lambda case: case.name)
def test_memory_is_that_of_one_thread_after_a_small_first_call(tmp_path, monkeypatch, case):
    """In a new process, whose threads are as many as the cores, and which has loaded nothing yet."""
    called = []

    def side(folder):
        size = sum(path.stat().st_size for path in folder.rglob("*.*"))
        return lambda: called.append((size, torch.get_num_threads()))

    bench.WRITERS[case.name](tmp_path, 60)
    whole = sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    monkeypatch.setitem(bench.SIDES, (case.name, "peer"), side)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        bench._warm(case, tmp_path, "peer")()
    finally:
        torch.set_num_threads(before)
    (few, threads), measured = called
    assert 0 < few < whole / 2 and threads == 1
    assert measured == (whole, 1)
