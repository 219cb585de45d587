"""`amorlip plan`: its hours are measured or marked, and partitions with too short limits are named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from amorlip import cli
from amorlip.config.load import merged
from amorlip.monitor import jobs, plan
from amorlip.study import Study, load_study, top_level_layers
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
RULES = REPOSITORY / "workflow/rules"


def load(*files: Path) -> Study:
    layers = top_level_layers(files, CONFIG)
    return load_study(merged(layers), CONFIG, layers=layers)


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if re.match(rf"{start}\b", line))


@pytest.mark.parametrize("rule", jobs.FIXED)
def test_fixed_resources_are_those_of_the_rules(rule):
    block = (RULES / f"{rule}.smk").read_text()
    threads = re.search(r"^    threads: (\d+)$", block, re.MULTILINE)
    runtime = re.search(r"^        runtime=(\d+),$", block, re.MULTILINE)
    assert runtime and jobs.FIXED[rule] == (int(threads[1]) if threads else 1, int(runtime[1]))


def test_the_limits_of_downloads_are_those_of_the_rule():
    block = (RULES / "download.smk").read_text()
    assert f"runtime={jobs.DOWNLOAD_MIN}," in block
    assert f"max({jobs.PART_MIN}, {jobs.DOWNLOAD_MIN} // int(wildcards.parts))" in block


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys, *arguments: str) -> str:
    cli.main(["plan", *arguments])
    return capsys.readouterr().out


def test_hours_that_were_not_measured_are_limits_and_marked(here, slurm, capsys):
    text = shown(capsys, str(CONFIG / "paper.yaml"))
    train = row(text, "train +medium").split()
    # seven runs of a day on one GPU with 16 CPUs; weights and two checkpoints each
    assert train[2:] == ["7", "7", "16", "1", "24.00", "24.00*", "168.0", "2,688.0", "20.0", "limit"]
    assert "* not measured" in text and re.search(r"paper: (\d+) of \1 jobs are left: ", text)
    assert row(text, "download +cc3m").split()[10] == f"{2274566 * plan.PICTURE_BYTES / 1e9:.1f}"


def test_hours_from_the_bench(here, slurm, capsys):
    Path("results/bench").mkdir(parents=True)
    speeds = {"medium/clip": 4000, "medium/amorlip_l2log, T_online 8": 3000}
    cases = [{"case": case, "images_per_s": speed} for case, speed in speeds.items()]
    Path("results/bench/train.json").write_text(json.dumps([*cases, {"case": "medium/clip", "ours_per_s": 1}]))
    text = shown(capsys, str(CONFIG / "paper.yaml"))
    hours = 2274566 * 30 / 3000 / 3600  # methods that were not measured: as the slowest at their scale
    assert row(text, "train +medium").split()[7] == f"{hours:.2f}" and row(text, "train +medium").endswith("train.json")
    assert row(text, "train +large").split()[7] == "48.00*"
    Path("results/bench/train.json").write_text("[1]")
    with pytest.raises(SystemExit):
        cli.main(["plan", str(CONFIG / "paper.yaml")])
    assert capsys.readouterr().err.count("\n") == 1


def test_hours_of_finished_runs_and_what_is_left(here, slurm, capsys):
    folder = Path("results/demo/runs/demo/clip-seed0")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    run = {
        "scale": "demo", "method": "clip", "variant": None, "seed": 0, "steps": 1, "samples_seen": 1,
        "skipped_steps": 0, "corpus": {"name": "demo", "digest": "", "pairs": 1}, "training_seconds": 800.0,
        "wall_seconds": 900.0, "checkpoints": "", "ranks": 1, "platform": "", "device": "cpu",
        "cpu_capability": "", "cuda": None, "git_revision": None, "versions": {}, "starts": [],
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(run))
    assert row(shown(capsys), "train").split()[2:8] == ["2", "1", "1", "0", "1.00", "0.25"]


def test_limits_of_partitions(here, slurm, capsys):
    slurm("sinfo", "short|1:00:00", "long|1-00:00:00")
    lines = shown(capsys, str(CONFIG / "paper.yaml")).splitlines()
    assert "train medium: 1440 min are too long for the partitions short" in lines
    forever = next(line for line in lines if line.startswith("train large: "))
    assert "longer than that of every partition" in forever and "PartitionTimeLimit" in forever
    assert not [line for line in lines if line.startswith("table: ")]
    slurm("sinfo", error="Unable to contact slurm controller")
    assert shown(capsys).endswith("sinfo failed: Unable to contact slurm controller; is Slurm running?\n")


def test_the_longest_chain(here):
    study = load(CONFIG / "config.yaml")
    found = plan.rows(study, Path("results"))
    # artwork, urls, download, shards, tasks, train, evaluate and four small rules after each other
    assert plan.longest_chain_h(found) == pytest.approx(sum({row.rule: row.hours for row in found}.values()))


def test_parameters_are_those_of_the_models():
    from amorlip import models

    assert plan.PARAMETERS["demo"] == sum(weights.numel() for weights in models.create("demo", seed=0).parameters())
