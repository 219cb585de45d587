from __future__ import annotations

import json

import pytest

from amorlip.bench import objectives as bench
from amorlip.config.objectives import OBJECTIVES

KEYS = {"method", "batch", "dim", "t_online", "device", "ms", "cliploss_ms", "ratio", "peak_mib", "cliploss_peak_mib"}


def test_every_method_and_size_is_listed():
    cases = bench.all_cases()
    assert {case.method for case in cases} == set(OBJECTIVES)
    assert {(case.batch, case.dim) for case in cases} == {(1024, 1024), (2048, 512), (8192, 512)}
    assert sorted(case.t_online for case in cases if case.method == "amorlip_l2log" and case.batch == 1024) == [0, 1, 8]


def test_result_files(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_peak_mib", lambda case, device: 40.0 if case.method == bench.REFERENCE else 10.0)
    cases = [bench.Case("siglip", 16, 8, 1.0), bench.Case("amorlip_l2log", 16, 8, 1.0, 2)]
    results = bench.run(tmp_path / "o.json", tmp_path / "o.md", cases, rounds=3)
    written = json.loads((tmp_path / "o.json").read_text())
    assert [line["method"] for line in written] == ["siglip", "amorlip_l2log"]
    assert all(line.keys() == KEYS for line in written)
    assert written[1]["t_online"] == 2 and written[1]["peak_mib"] == 10 and written[1]["cliploss_peak_mib"] == 40
    assert all(r.ratio == pytest.approx(r.ms / r.cliploss_ms, rel=1e-2) for r in results)
    table = (tmp_path / "o.md").read_text()
    assert "| siglip | 16 | 8 | 0 | cpu |" in table and "| amorlip_l2log | 16 | 8 | 2 | cpu |" in table


@pytest.mark.parametrize(("t_online", "expected"), [(0, [0, 0, 0, 0]), (1, [1, 1, 1, 1]), (2, [1, 0, 1, 0])])
def test_steps_fit_when_they_should(monkeypatch, t_online, expected):
    """And the networks of the epoch before take part in each."""
    from amorlip.objectives.amorlip_networks import AmortizationNetworks

    counts, original = {"fit": 0, "estimate": 0}, AmortizationNetworks.estimate

    def estimate(*arguments):
        counts["estimate"] += 1
        return original(*arguments)

    monkeypatch.setattr(AmortizationNetworks, "fit", lambda *a: counts.__setitem__("fit", counts["fit"] + 1))
    monkeypatch.setattr(AmortizationNetworks, "estimate", staticmethod(estimate))
    step = bench.step_of(bench.Case("amorlip_l2log", 16, 8, 1.0, t_online), "cpu")
    found = []
    for _ in range(4):
        before = counts["fit"]
        step()
        found.append(counts["fit"] - before)
    assert found == expected and counts["estimate"] == 4


@pytest.mark.slow
def test_memory_of_a_large_batch():
    """ClipLoss holds several B×B matrices, of 64 MiB here; a blockwise step holds none."""
    case = bench.Case("amorlip_l2log", 4096, 64, 1.0)
    reference = bench._peak_mib(bench.replace(case, method=bench.REFERENCE), "cpu")
    assert reference > 3 * 64
    assert bench._peak_mib(case, "cpu") < reference / 2
