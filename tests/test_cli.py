"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from amorlip import cli
from amorlip.config.corpus import DownloadSettings
from amorlip.config.recipe import Recipe
from tests.helpers import REPOSITORY
from tests.helpers.chain import Chain


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


@pytest.mark.parametrize(("source", "words"), [("emoji", "--artwork is missing"), ("mirror", "has no list")])
def test_a_list_that_cannot_be_written(source, words, tmp_path, capsys):
    mirror = {"repository": "a/b", "train": "*", "validation": "*"}
    demo = yaml.safe_load((REPOSITORY / "config/corpora/demo.yaml").read_text())
    settings = {**demo, "source": source, "mirror": mirror}
    with pytest.raises(SystemExit):
        cli.main(["urls", "--settings", json.dumps(settings), "--output", str(tmp_path / "urls.parquet")])
    assert words in capsys.readouterr().err


def test_training_leaves_out_tasks_that_are_missing(tmp_path, monkeypatch, capsys):
    from amorlip.training import loop

    source = json.dumps({"kind": "folder", "path": str(tmp_path / "nowhere")})
    cli.main(["tasks", "--settings", source, "--output", str(tmp_path / "gone"), "--allow-missing", "1"])
    (tmp_path / "there").mkdir()
    (tmp_path / "there/task.json").write_text(json.dumps({"source": {"kind": "folder", "path": "x"}, "files": {}}))
    trained = []
    monkeypatch.setattr(loop, "train", lambda run, shards, output, tasks, **_: trained.append(tasks))
    recipe = {"corpus": "mini", "model": "demo", "batch_size": 8, "epochs": 1, "optimizer": {"lr": 1e-3}}
    run = {"scale": "mini", "method": "clip", "seed": 0, "objective": "clip", "settings": {}, "recipe": recipe}
    task = {"kind": "classification", "main_metric": "acc1"}
    settings = json.dumps({"run": run, "tasks": {"gone": task, "there": task}})
    cli.main(["train", "--settings", settings, "--shards", "x", "--output", "y", "--tasks", str(tmp_path)])
    (tasks,) = trained
    assert tasks["gone"] is None and tasks["there"][1] == tmp_path / "there"
    assert "gone is not evaluated" in capsys.readouterr().err


@pytest.mark.parametrize("given", [False, True])
def test_an_option_that_is_left_out_is_the_recipes(tmp_path, monkeypatch, given):
    from amorlip.training import loop

    keys = {"loader": {"workers": 5}, "checkpoint_every_steps": 77} if given else {}
    recipe = {"corpus": "mini", "model": "demo", "batch_size": 8, "epochs": 1, "optimizer": {"lr": 1e-3}, **keys}
    run = {"scale": "mini", "method": "clip", "seed": 0, "objective": "clip", "settings": {}, "recipe": recipe}
    trained = []
    monkeypatch.setattr(loop, "train", lambda run, *arguments, **_: trained.append(run.recipe))
    command = ["train", "--settings", json.dumps({"run": run}), "--shards", "x", "--output", "y"]
    cli.main(command)
    cli.main([*command, "--workers", "2", "--checkpoint-every-steps", "3", "--checkpoint-every-minutes", "4"])
    expected = Recipe.model_validate(recipe)
    assert trained[0] == expected and given == (expected.loader.workers == 5)
    assert (trained[1].loader.workers, trained[1].checkpoint_every_steps) == (2, 3)
    assert trained[1].checkpoint_every_minutes == 4


@pytest.mark.parametrize("keys", [{}, {"threads": 5, "timeout_s": 6}])
def test_an_option_that_is_left_out_is_the_corpus(monkeypatch, keys):
    from amorlip.corpus import download

    found = []
    monkeypatch.setattr(download, "download", lambda corpus, *_, **__: found.append(corpus.download))
    train = {"url": "file:///list.tsv", "columns": ["url", "caption"]}
    settings = json.dumps({"source": "urls", "urls": {"train": train}, "download": keys})
    command = ["download", "--settings", settings, "--split", "train", "--urls", "x", "--output", "y"]
    cli.main(command)
    cli.main([*command, "--processes", "7", "--retries", "0"])
    assert found[0] == DownloadSettings(**keys)
    assert found[1] == DownloadSettings(**keys, processes=7, retries=0)


def test_no_option_has_a_default_of_its_own():
    """A second default would differ from the configuration's sooner or later."""
    assert {key for key, option in cli.OPTIONS.items() if option.get("default") is not None} == {"allow-missing"}


def test_an_interrupt_ends_with_130(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_settings", interrupt)
    with pytest.raises(SystemExit) as ended:
        cli.main(["study_config", "--settings", "{}", "--output", "x"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "amorlip study_config: interrupted\n"


def test_another_system_than_linux_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SystemExit) as left:
        cli.main(["schema"])
    assert left.value.code == 1
    assert capsys.readouterr().err == "amorlip schema: runs on Linux only, and this is darwin; see README\n"


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


HEAVY = {
    "torch", "torchvision", "open_clip", "transformers", "timm", "sklearn", "scipy", "pandas", "matplotlib",
    "webdataset", "img2dataset", "albumentations", "cv2", "tensorboard",
}  # fmt: skip
"""Packages that take between a third of a second and some seconds to import."""


def loaded(code: str) -> set[str]:
    """The heavy packages that a new process has imported after `code`."""
    code = f"import sys; {code}; print(*{HEAVY} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_the_module_loads_no_heavy_library():
    """Reading the configuration happens in every job, so it must be quick."""
    assert loaded("import amorlip.cli, amorlip.study, amorlip.evaluation_jobs") == set()


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    return Chain(tmp_path_factory.mktemp("study") / "chain").build()


@pytest.mark.parametrize("stage", ["urls", "shards", "tasks"])
def test_a_small_stage_loads_few_heavy_libraries(chain, tmp_path, stage):
    """In a whole run of the stage, imports inside its functions included. pyarrow imports pandas to make an array."""
    arguments = {"urls": chain.urls_stage, "shards": chain.shards_stage, "tasks": chain.tasks_stage}
    place = chain.shards if stage == "shards" else tmp_path / "new"
    assert loaded(f"from amorlip import cli; cli.main({arguments[stage](place)})") == {"pandas"}


@pytest.mark.parametrize(
    ("stage", "packages"),
    [("download", set()), ("artwork", {"pandas"}), ("table", {"pandas"}), ("figure", {"pandas", "matplotlib"})],
)
def test_a_stage_imports_few_heavy_libraries(stage, packages):
    assert loaded(f"import amorlip.stages.{stage}") == packages


def test_evaluation_loads_no_package_that_it_does_not_use():
    assert not loaded("import amorlip.evaluation.evaluate_tasks") & {
        "sklearn",
        "matplotlib",
        "webdataset",
        "img2dataset",
    }


@pytest.mark.parametrize("name", ["settings", "urls", "linked", "list"])
def test_an_output_that_is_also_an_input_is_refused(name, tmp_path, capsys):
    """The stage `urls` of a list on this disk, and a stage with another input."""
    columns = ["url", "caption"]
    mine = tmp_path / "mine.tsv"
    mine.write_text("http://127.0.0.1/a.jpg\tone\n")
    source = {"source": "urls", "urls": {"train": {"url": mine.as_uri(), "columns": columns}}}
    settings = tmp_path / "corpus.json"
    settings.write_text(json.dumps(source))
    (tmp_path / "link").symlink_to(mine)
    arguments = {
        "settings": ["urls", "--settings", settings, "--output", settings],
        "list": ["urls", "--settings", settings, "--output", mine],
        "linked": ["urls", "--settings", settings, "--output", tmp_path / "link"],
        "urls": ["download", "--settings", settings, "--split", "train", "--urls", mine, "--output", mine],
    }[name]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit):
        cli.main([str(word) for word in arguments])
    assert "would be overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
