"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from amorlip import cli
from tests.helpers import REPOSITORY


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "amorlip", *arguments], cwd=REPOSITORY, capture_output=True, text=True)


def test_every_stage_is_a_rule():
    """The same word names a rule and a subcommand."""
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    for stage in cli.STAGES:
        assert (REPOSITORY / "amorlip" / "stages" / f"{stage}.py").is_file()
        assert f"rule {stage}:" in rules
        assert f"amorlip {stage} " in rules


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ("{", ["not valid JSON"]),
        ('{"sedes": [0]}', ["unknown key 'sedes'", "[0]"]),
        ("missing.yaml", ["missing.yaml", "No such file"]),
    ],
)
def test_bad_settings_are_told_in_one_line(settings, parts, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["urls", "--settings", settings, "--output", str(tmp_path / "urls.parquet")])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("amorlip urls: ") and error.count("\n") == 1
    for part in parts:
        assert part in error
    assert not list(tmp_path.iterdir())


def test_training_leaves_out_tasks_that_are_missing(tmp_path, monkeypatch, capsys):
    from amorlip.training import loop

    source = json.dumps({"kind": "folder", "path": str(tmp_path / "nowhere")})
    cli.main(["tasks", "--settings", source, "--output", str(tmp_path / "gone"), "--allow-missing", "1"])
    (tmp_path / "there").mkdir()
    (tmp_path / "there/task.json").write_text("{}")
    trained = []
    monkeypatch.setattr(loop, "train", lambda run, shards, output, tasks: trained.append(tasks))
    recipe = {"corpus": "mini", "model": "demo", "batch_size": 8, "epochs": 1, "optimizer": {"lr": 1e-3}}
    run = {"scale": "mini", "method": "clip", "seed": 0, "objective": "clip", "settings": {}, "recipe": recipe}
    task = {"kind": "classification", "main_metric": "acc1"}
    settings = json.dumps({"run": run, "tasks": {"gone": task, "there": task}})
    folders = [f"{name}={tmp_path / name}" for name in ("gone", "there")]
    cli.main(["train", "--settings", settings, "--shards", "x", "--output", "y", "--task-folder", *folders])
    (tasks,) = trained
    assert tasks["gone"] is None and tasks["there"][1] == tmp_path / "there"
    assert "gone is not evaluated" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "settings", interrupt)
    with pytest.raises(SystemExit) as ended:
        cli.main(["study_config", "--settings", "{}", "--output", "x"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "amorlip study_config: interrupted\n"


def test_config_prints_complete_recipes():
    done = run("config", "config/config.yaml")
    assert done.returncode == 0, done.stderr
    runs = yaml.safe_load(done.stdout)
    assert set(runs) == {"demo/clip-seed0", "demo/amorlip_l2log-seed0"}
    assert runs["demo/clip-seed0"]["recipe"]["optimizer"]["beta1"] == 0.9


def test_the_top_level_configuration_is_written_as_yaml_that_reads_back(tmp_path):
    selection = {"name": "demo", "seeds": [0, 1], "overrides": {"scales": {"demo": {"title": "kleine Größe"}}}}
    cli.main(["study_config", "--settings", json.dumps(selection), "--output", str(tmp_path / "config.yaml")])
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == selection


def test_the_module_loads_no_heavy_library():
    """Reading the configuration happens in every job, so it must be quick."""
    code = "import sys, amorlip.cli, amorlip.study; print(sorted({'torch', 'pandas', 'open_clip'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
