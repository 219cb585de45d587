"""The checks for the first hour on a GPU, tried on a CPU."""

from __future__ import annotations

import json

import pytest
import torch

from amorlip.bench import gpu_check
from amorlip.common.errors import AmorlipError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small batches, and two methods."""
    monkeypatch.setattr(gpu_check, "PAIRS", 8)
    monkeypatch.setattr(gpu_check, "OBJECTIVES", ["clip", "neuclip"])


ON_A_CPU = gpu_check.Place(torch.device("cpu"), tiny=True)
QUICK = [check.__name__ for check in gpu_check.CHECKS if check is not gpu_check.paper_steps]


def test_each_check_and_its_files(tmp_path):
    """All that a CPU can run in seconds."""
    results = gpu_check.run(tmp_path / "g.json", tmp_path / "g.md", tiny=True, only=QUICK)
    written = json.loads((tmp_path / "g.json").read_text())
    assert [line["check"] for line in written] == QUICK and all(line["passed"] for line in written)
    assert results[1].found.keys() == {"clip", "neuclip"}
    assert "| environment | True |" in (tmp_path / "g.md").read_text()


def test_a_check_that_fails_is_named_and_the_next_one_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "CHECKS", [broken, gpu_check.environment])
    with pytest.raises(AmorlipError, match="1 checks failed .broken."):
        gpu_check.run(tmp_path / "g.json", tmp_path / "g.md", tiny=True)
    written = json.loads((tmp_path / "g.json").read_text())
    assert [line["passed"] for line in written] == [False, True] and "Wrong: no" in written[0]["found"]["error"]


def broken(place: gpu_check.Place) -> dict:
    raise gpu_check.Wrong("no")


def test_the_check_of_a_bad_step_can_fail(monkeypatch):
    """Where nothing is skipped."""
    original = torch.optim.AdamW.step

    def step(self, *arguments):
        self.found_inf = None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.nan_to_num_()
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(gpu_check.Wrong, match="changed"):
        gpu_check.a_bad_step_changes_nothing(ON_A_CPU)


def test_without_a_gpu_it_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(AmorlipError, match="there is no GPU here"):
        gpu_check.run(tmp_path / "g.json", tmp_path / "g.md")
