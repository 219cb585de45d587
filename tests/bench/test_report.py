"""What all benchmarks share."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from amorlip.bench import report


@dataclass
class Result:
    case: str
    ms: float


def test_measures_take_turns():
    calls = []

    def measure(name: str, values: list[float]) -> float:
        calls.append(name)
        return values.pop()

    first, second = [9.0, 1.0, 2.0, 3.0, 400.0], [5.0, 6.0, 7.0, 8.0, 9.0]
    found = report.alternating_medians([lambda: measure("a", first), lambda: measure("b", second)], rounds=5)
    assert found == [3.0, 7.0] and calls == ["a", "b"] * 5


@pytest.mark.parametrize(("rounds", "made"), [(2, 2), (7, 3)])
def test_the_time_limit_leaves_three_rounds(rounds, made):
    calls = []
    report.alternating_medians([lambda: calls.append(0) or 1.0], rounds, time_limit_s=0)
    assert len(calls) == made


def test_files(tmp_path):
    columns = [report.Column("what", "{case}", is_number=False), report.Column("time [ms]", "{ms:.1f}")]
    report.write(tmp_path / "r.json", tmp_path / "r.md", [Result("a", 1.26), Result("b", 2)], "Heading.", columns)
    assert json.loads((tmp_path / "r.json").read_text()) == [{"case": "a", "ms": 1.26}, {"case": "b", "ms": 2}]
    text = (tmp_path / "r.md").read_text()
    assert text.startswith("Heading.\n20") and " cores (load " in text and "PyTorch" in text
    assert text.endswith("\n\n| what | time [ms] |\n| --- | ---: |\n| a | 1.3 |\n| b | 2.0 |\n")
