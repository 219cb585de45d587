from __future__ import annotations

import json

import pytest
import torch

from amorlip.bench import objectives as bench
from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import OBJECTIVES
from tests.helpers.fake_gpu import DeviceMismatch, fake_gpu

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


def test_a_case_that_fails_is_named_and_loses_no_other(tmp_path, monkeypatch):
    """The files hold what was measured, after each case."""
    measured, seen = bench._measure, []

    def measure(case, device, rounds):
        seen.append(json.loads((tmp_path / "o.json").read_text()) if seen else [])
        if case.method == "sogclr":
            raise RuntimeError("the GPU is gone")
        return measured(case, device, rounds)

    monkeypatch.setattr(bench, "_peak_mib", lambda case, device: 1.0)
    monkeypatch.setattr(bench, "_measure", measure)
    cases = [bench.Case(method, 16, 8, 1.0) for method in ("clip", "sogclr", "siglip")]
    with pytest.raises(AmorlipError, match="1 cases failed, .*o.json: sogclr/16x8 on cpu: the GPU is gone"):
        bench.run(tmp_path / "o.json", tmp_path / "o.md", cases, rounds=1)
    assert [len(written) for written in seen] == [0, 1, 1]
    assert [line["method"] for line in json.loads((tmp_path / "o.json").read_text())] == ["clip", "siglip"]


def test_cases_are_chosen_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(
        bench, "_measure", lambda case, device, rounds: bench.Result(case.method, *[0] * 3, "cpu", *[0] * 5)
    )
    run = lambda *only: bench.run(tmp_path / "o.json", tmp_path / "o.md", only=only)  # noqa: E731
    assert [result.method for result in run("neuclip/*", "siglip/1024x1024")] == ["siglip", *["neuclip"] * 3]
    with pytest.raises(
        AmorlipError, match="--cases: unknown case 'neucli/1024x1024'; did you mean 'neuclip/1024x1024'"
    ):
        run("clip/*", "neucli/1024x1024")


@pytest.mark.parametrize("t_online", [0, 1])
@pytest.mark.parametrize("method", OBJECTIVES)
def test_on_a_gpu_a_step_has_all_tensors_there_and_waits_for_none(monkeypatch, method, t_online):
    """From the first step on, although NeuCLIP's prototypes are not due to be replaced in it."""
    few, create = {"neuclip": {"prototypes": 24, "t_u": 2}}, bench.registry.create
    monkeypatch.setattr(
        bench.registry, "create", lambda name, keys, context: create(name, few.get(name, keys), context)
    )
    with fake_gpu() as waits:
        step = bench.step_of(bench.Case(method, 16, 8, 1.0, t_online), "cuda")
        step()
        waits.clear()
        step()
        assert waits == []


def test_the_fake_gpu_finds_what_a_real_one_would_refuse():
    with fake_gpu() as waits:
        layer = torch.nn.Linear(4, 4).to("cuda")
        with pytest.raises(DeviceMismatch, match="addmm"):
            layer(torch.ones(2, 4))
        loss = layer(torch.ones(2, 4).to("cuda", non_blocking=True)).sum()
        loss.backward()
        assert loss.device.type == layer.weight.grad.device.type == "cuda" and torch.ones(1).device.type == "cpu"
        waits.clear()
        loss.detach().item(), layer.weight.cpu(), torch.tensor(1.0, device="cuda"), layer.weight[layer.weight > 0]
        assert waits == ["_local_scalar_dense", "cpu cpu", "tensor from the host", "index"]


@pytest.mark.slow
def test_memory_of_a_large_batch():
    """ClipLoss holds several B×B matrices, of 64 MiB here; a blockwise step holds none."""
    case = bench.Case("amorlip_l2log", 4096, 64, 1.0)
    reference = bench._peak_mib(bench.replace(case, method=bench.REFERENCE), "cpu")
    assert reference > 3 * 64
    assert bench._peak_mib(case, "cpu") < reference / 2
