"""Measuring whole steps: cases, parts, counted FLOP and files. No test depends on a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from amorlip import models
from amorlip.bench import eager, steps, train
from amorlip.common.errors import AmorlipError
from amorlip.config.objectives import OBJECTIVES
from amorlip.training import session
from amorlip.training.distributed import World
from tests.helpers import tiny
from tests.helpers.fake_gpu import GPU, fake_gpu

WORLD = World(torch.device("cpu"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "train")


def test_the_plan_for_gpus():
    cases = train.gpu_cases()
    settings = {(case.run.scale, case.run.recipe.model, case.run.recipe.batch_size) for case in cases}
    assert settings == {("medium", "RN50", 1024), ("large", "ViT-B-32", 2048)}
    for scale in ("medium", "large"):
        here = [case for case in cases if case.run.scale == scale]
        assert {case.run.method for case in here} == set(OBJECTIVES) and here[0].run.method == "clip"
        assert sorted(case.t_online for case in here if case.run.method == "amorlip_l2log") == [1, 8, 32]
    assert all(case.steps % (case.t_online or 1) == 0 for case in cases)
    assert len({case.name for case in cases}) == len(cases)
    small = train.tiny_cases()
    assert [case.name for case in small] == [case.name for case in cases]
    assert all((case.run.recipe.model, case.run.recipe.batch_size) == ("demo", 16) for case in small)


def test_a_missing_demo_corpus_is_an_error_that_says_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.setattr(train, "_shards", lambda run: None)
    with pytest.raises(AmorlipError, match="make it with: snakemake results/corpora/demo/train/manifest.json"):
        train.cpu_cases()


def test_flop_are_counted():
    """Against the shapes of the layers: forward once, backward twice but for the images' own gradient."""
    model = models.create("tiny_transformer", seed=0)
    width, length, patches = 32, 1 + (32 // 8) ** 2, (32 // 8) ** 2
    patch = 2 * patches * 3 * 8 * 8 * width

    def block(width: int, length: int) -> int:
        return 2 * length * 12 * width**2 + 2 * 2 * length**2 * width

    ends = 2 * width * model.visual.output_dim + 2 * 16 * model.visual.output_dim
    expected = 2 * patch + 3 * (block(width, length) + block(16, model.context_length) + ends)
    assert steps.flop_per_pair("tiny_transformer") == expected
    shorter = expected - 3 * (block(16, model.context_length) - block(16, 5))
    assert steps.flop_per_pair("tiny_transformer", text_positions=5) == shorter


def test_peaks_are_those_of_the_chip():
    assert steps.peak_flop_per_s("NVIDIA H100 80GB HBM3") == 989e12
    assert steps.peak_flop_per_s("NVIDIA H100 PCIe") == 756e12
    assert steps.peak_flop_per_s("cpu") is None


@pytest.mark.parametrize("method", ["amorlip_l2log", "neuclip"])
def test_on_a_gpu_steps_are_measured_without_waiting(method, monkeypatch):
    """The GPU is a fake; the bench's first step is in the second epoch."""
    run = next(case.run for case in train.tiny_cases() if case.run.method == method)
    run = run.model_copy(update={"recipe": run.recipe.model_copy(update={"compile": "never"})})
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    with fake_gpu() as waits:
        stepper = steps.open_stepper(run, World(GPU), None)
        assert stepper.train(1) > 0
        waits.clear()
        stepper.train(1)
        assert waits == [] and stepper.session.objective.state_dict()


@pytest.mark.parametrize("synthetic", [True, False])
def test_parts_make_up_a_step_and_training_continues(shards, synthetic, monkeypatch):
    """With a clock that advances by one at each reading, every part of every step takes one tick."""
    run = tiny.make_run("amorlip_l2log", {"t_online": 2}, epochs=9)
    stepper = steps.open_stepper(run, WORLD, None if synthetic else shards)
    before = {name: value.clone() for name, value in stepper.session.model.state_dict().items()}
    ticks = iter(range(10_000))
    monkeypatch.setattr(steps.time, "perf_counter", lambda: next(ticks))
    for _ in range(2):
        stepper.train(4)
    assert stepper.marks.means_ms(8) == dict.fromkeys(steps.PARTS, 1000.0)
    assert stepper.step == stepper.session.loader.steps_per_epoch + 8
    after = stepper.session.model.state_dict()
    assert all(not torch.equal(value, after[name]) for name, value in before.items() if "weight" in name)


def test_the_plain_loop_learns_from_the_same_shards(shards):
    run = tiny.make_run(epochs=9)
    model = session.new_model(run)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "new_model", lambda _run: model)
        eager.loop(run, shards)(3)
    assert all(not torch.equal(value, start[name]) for name, value in model.state_dict().items() if "weight" in name)


@pytest.mark.slow
def test_files_and_the_process_of_each_case(tmp_path):
    """The plan for GPUs at its small size, two cases of it, as with `--tiny`."""
    clip, amorlip = (next(c for c in train.tiny_cases() if c.run.method == m) for m in ("clip", "amorlip_l2log"))
    cases = [replace(clip, steps=1), replace(amorlip, steps=1)]
    results = train.run(tmp_path / "t.json", tmp_path / "t.md", cases=cases)
    written = json.loads((tmp_path / "t.json").read_text())
    assert [line["case"] for line in written] == ["medium/clip", "medium/amorlip_l2log, T_online 8"]
    assert all(line["device"] == "cpu" and line["data"] == "synthetic" for line in written)
    assert written[0]["images_per_s"] == pytest.approx(16_000 / written[0]["step_ms"], rel=1e-2)
    assert written[1]["over_clip_ms"] == pytest.approx(results[1].step_ms - results[0].step_ms, abs=1e-2)
    assert all(line["peak_mib"] > 100 and line["utilization"] is None for line in written)
    assert "| medium/amorlip_l2log, T_online 8 | cpu | demo | 16 | synthetic |" in (tmp_path / "t.md").read_text()


@pytest.mark.slow
def test_comparison_with_a_plain_loop(shards, tmp_path):
    case = train.Case(tiny.make_run(model="demo", epochs=50, loader={"workers": 1}), shards, steps=2, rounds=1)
    found = train.run(tmp_path / "t.json", tmp_path / "t.md", cases=[case], compare_rounds=2)
    line = json.loads((tmp_path / "t.json").read_text())[1]
    assert line.keys() == {"case", "ours_per_s", "eager_per_s", "ratio"}
    assert line["ratio"] == pytest.approx(found[1].ours_per_s / found[1].eager_per_s, rel=1e-2)
    assert "| tiny/clip compared with a plain loop |" in (tmp_path / "t.md").read_text()


@pytest.mark.slow
def test_a_case_that_fails_is_named_and_loses_no_other(shards, tmp_path):
    bad = train.Case(tiny.make_run(model="demo", batch_size=1000), shards, steps=1)
    good = replace(train.tiny_cases()[0], steps=1)
    with pytest.raises(AmorlipError, match="1 cases failed.*tiny/clip: .*batch_size 1000 is larger than the corpus"):
        train.run(tmp_path / "t.json", tmp_path / "t.md", cases=[bad, good], compare_rounds=0)
    assert [line["case"] for line in json.loads((tmp_path / "t.json").read_text())] == ["medium/clip"]


def test_cases_are_chosen_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_measure", lambda case, scratch, results: pytest.fail(case.name))
    with pytest.raises(AmorlipError, match="--cases: unknown case 'tiny/clip'"):
        train.run(tmp_path / "t.json", tmp_path / "t.md", tiny=True, only=["medium/*", "tiny/clip"])
