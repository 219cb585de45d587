"""The command `amorlip evaluate`: records of runs, of weights from elsewhere, and of sets that are missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import open_clip
import pandas as pd
import pytest
import torch

from amorlip import cli, models
from amorlip.common import files, provenance
from amorlip.common.errors import AmorlipError, NotAvailable
from amorlip.config.benchmark import Benchmark, TaskSource
from amorlip.config.load import read_yaml, validate
from amorlip.tasks.provide import provide
from amorlip.tasks.record import missing
from tests.helpers.hub import Hub

KEYS = {"kind": "classification", "main_metric": "acc1"}


@pytest.fixture
def folder(sets, tmp_path):
    """A set of 24 images in six classes, as the stage `tasks` leaves it."""
    names = [f"thing {n}" for n in range(6)]
    source = sets.classification(tmp_path / "mine", sets.pictures(24), [n % 6 for n in range(24)], names, ["a {c}"])
    provide(TaskSource(kind="folder", path=str(source)), tmp_path / "task")
    return tmp_path / "task"


@pytest.fixture
def weights(tmp_path):
    """Weights of the demo's architecture."""
    models.export(models.create("demo", seed=3), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def evaluate(folder, output, *arguments, settings=None, key="things"):
    settings = json.dumps(settings or {"task": KEYS, "evaluation": {"batch_size": 8}})
    cli.main(["evaluate", "--settings", settings, "--key", key, "--folder", str(folder), "--output", str(output),
              "--workers", "0", *arguments])  # fmt: skip
    return json.loads(output.read_text())


def test_weights_from_a_file(folder, weights, tmp_path):
    found = evaluate(folder, tmp_path / "out" / "things.json", "--model", "demo", "--pretrained", str(weights))
    assert found["run"] == {
        "scale": "external", "method": "demo, weights.safetensors", "variant": None, "seed": 0, "model": "demo",
        "pretrained": "weights.safetensors",
    }  # fmt: skip
    assert found["weights_sha256"] == files.sha256(weights)
    assert found["task_source"] == {"kind": "folder", "path": "mine"}
    assert len(pd.read_parquet(tmp_path / "out" / "things.parquet")) == 24
    assert {"value", "metrics", "samples", "samples_expected", "per_class", "interval95", "seconds", "images_per_s",
            "settings", "device", "versions"} <= set(found)  # fmt: skip


@pytest.mark.parametrize("what", ["versions", "source_digest"])
def test_features_of_another_version_are_not_used(folder, weights, tmp_path, monkeypatch, what):
    """Neither of packages nor of this code, edited but not committed; those of the same version are used."""
    arguments = [folder, tmp_path / "out" / "things.json", "--model", "demo", "--pretrained", str(weights)]
    kept = []
    for version in ("1", "1", "2"):
        value = {"torch": version} if what == "versions" else version
        monkeypatch.setattr(provenance, what, lambda value=value: value)
        assert evaluate(*arguments)["versions"] == provenance.versions()
        kept.append(len(list((tmp_path / "out" / "features").iterdir())))
    assert kept == [1, 1, 2]


def same_file(tmp_path, weights, folder):
    return ["--output", str(weights)], "would be overwritten"


def own_json(tmp_path, weights, folder):
    (tmp_path / "mine.json").write_text('{"title": "mine"}')
    return ["--output", str(tmp_path / "mine.json")], "is not the result of an evaluation"


def weights_as_predictions(tmp_path, weights, folder):
    (tmp_path / "link").symlink_to(tmp_path)
    return ["--predictions", str(tmp_path / "link" / weights.name)], "would be overwritten"


def task_as_predictions(tmp_path, weights, folder):
    return ["--predictions", str(folder / "classnames.txt")], "belongs to an input"


def results_in_the_task(tmp_path, weights, folder):
    return ["--output", str(folder / "task.json")], "is not the result of an evaluation"


@pytest.mark.parametrize(
    "case", [same_file, own_json, weights_as_predictions, task_as_predictions, results_in_the_task]
)
def test_an_input_is_never_overwritten(case, folder, weights, tmp_path, capsys):
    arguments, words = case(tmp_path, weights, folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit):
        evaluate(folder, tmp_path / "t.json", "--model", "demo", "--pretrained", str(weights), *arguments)
    assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_published_weights_by_name(folder, weights, tmp_path, monkeypatch):
    """With the transform and the activation in OpenCLIP's list."""
    mean = (0.5, 0.5, 0.5)
    published = {"file": str(weights), "mean": mean, "std": mean, "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "demo", {"mine": published})
    loaded = models.load_published("demo", "mine")
    assert loaded.weights == weights and loaded.preprocess.mean.tolist() == list(mean)
    assert any(type(module).__name__ == "QuickGELU" for module in loaded.network.modules())
    found = evaluate(folder, tmp_path / "things.json", "--model", "demo", "--pretrained", "mine")
    assert found["weights_sha256"] == files.sha256(weights)


def test_a_benchmarks_file_in_place_of_the_settings(folder, weights, tmp_path):
    task = {"title": "Things", **KEYS, "samples": 24, "source": {"kind": "folder", "path": "x"}}
    benchmark = {"title": "Mine", "tasks": {"things": task}}
    arguments = ["--model", "demo", "--pretrained", str(weights)]
    assert evaluate(folder, tmp_path / "a.json", *arguments, settings=benchmark)["samples_expected"] == 24
    with pytest.raises(SystemExit):
        evaluate(folder, tmp_path / "b.json", *arguments, settings=benchmark, key="thinks")


@pytest.mark.parametrize("source", ["{kind: folder, path: FOLDER}", "{kind: hub, repository: me/things}"])
def test_a_task_of_ones_own_is_one_entry(sets, weights, tmp_path, monkeypatch, source):
    """A folder or a dataset repository in the layout of the README, from the YAML to the result."""
    names = [f"thing {n}" for n in range(6)]
    mine = sets.classification(tmp_path / "mine", sets.pictures(24), [n % 6 for n in range(24)], names, ["a {c}."])
    entry = f"things: {{title: Things, kind: classification, main_metric: acc1, source: {source}}}"
    (tmp_path / "mine.yaml").write_text(f"title: Mine\ntasks:\n  {entry.replace('FOLDER', str(mine))}\n")
    benchmark = validate(Benchmark, read_yaml(tmp_path / "mine.yaml"), "mine.yaml")
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    hub.repositories["me/things"] = {
        path.relative_to(mine).as_posix(): path.read_bytes() for path in mine.rglob("*") if path.is_file()
    }
    provide(benchmark.tasks["things"].source, tmp_path / "task")
    hub.close()
    arguments = ["--model", "demo", "--pretrained", str(weights)]
    found = evaluate(tmp_path / "task", tmp_path / "t.json", *arguments, settings=read_yaml(tmp_path / "mine.yaml"))
    assert found["samples"] == 24 and found["classes"] == 6


class Pickled:
    def __reduce__(self):
        return os.system, ("touch run",)


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("demi", "weights.safetensors", "unknown model 'demi'; did you mean 'demo'"),
        ("demo", "absent.pt", "absent.pt is not a file"),
        ("ViT-B-32", "laion2b_s34b_b79", "did you mean 'laion2b_s34b_b79k'"),
        ("RN50", "weights.safetensors", "not the weights of a 'RN50'"),
        ("demo", "pickled.pt", "not the weights of a 'demo'"),
        ("demo", "text.pt", "not the weights of a 'demo'"),
    ],
)
def test_weights_that_are_refused(weights, tmp_path, monkeypatch, model, pretrained, words):
    """Code in a pickle is not run."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Pickled()}, "pickled.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(AmorlipError) as caught:
        models.load_published(model, pretrained)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def failing(error):
    def fail(*arguments, **keys):
        raise error

    return fail


def test_a_tokenizer_that_cannot_be_had(weights, monkeypatch):
    """The weights are not to blame."""
    monkeypatch.setattr(open_clip, "get_tokenizer", failing(OSError("no route to\nthe hub")))
    with pytest.raises(AmorlipError, match="^demo: its tokenizer cannot be loaded .no route to the hub.$"):
        models.load_published("demo", str(weights))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")])
@pytest.mark.parametrize("step", ["create_model", "get_tokenizer"])
def test_a_lack_of_memory_is_told_as_such(folder, weights, tmp_path, monkeypatch, capsys, step, error):
    monkeypatch.setattr(open_clip, step, failing(error))
    with pytest.raises(SystemExit):
        evaluate(folder, tmp_path / "t.json", "--model", "demo", "--pretrained", str(weights))
    assert "amorlip evaluate: not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model", "demo"],
        ["--pretrained", "y"],
        ["--run", "x", "--model", "demo"],
        ["--run", "x", "--pretrained", "y"],
        ["--run", "x", "--model", "demo", "--pretrained", "y"],
    ],
)
def test_which_model_must_be_clear(folder, tmp_path, arguments, capsys):
    with pytest.raises(SystemExit):
        evaluate(folder, tmp_path / "things.json", *arguments)
    assert "either --run, or --model and --pretrained" in capsys.readouterr().err


def test_a_set_that_is_not_there(weights, tmp_path, capsys):
    """Refused, or recorded if that is allowed: the evaluation then has no value and gives the reason."""
    source = TaskSource(kind="folder", path=str(tmp_path / "nowhere"))
    with pytest.raises(NotAvailable, match="no such folder"):
        provide(source, tmp_path / "task")
    provide(source, tmp_path / "task", allow_missing=True)
    assert capsys.readouterr().out.startswith("left out: ") and "nowhere" in missing(tmp_path / "task")
    found = evaluate(tmp_path / "task", tmp_path / "t.json", "--model", "demo", "--pretrained", str(weights))
    assert found["value"] is None and "nowhere" in found["missing"] and found["main_metric"] == "acc1"
    assert pd.read_parquet(tmp_path / "t.parquet").empty


def test_a_failed_evaluation_leaves_no_json(folder, weights, tmp_path):
    """Not even an earlier one."""
    evaluate(folder, tmp_path / "t.json", "--model", "demo", "--pretrained", str(weights))
    (folder / "test" / "0.tar").unlink()
    with pytest.raises(SystemExit):
        evaluate(folder, tmp_path / "t.json", "--model", "demo", "--pretrained", str(weights))
    assert not (tmp_path / "t.json").exists()


@pytest.mark.slow
def test_a_killed_evaluation_leaves_no_json(sets, weights, tmp_path):
    """SIGKILL once the class embeddings are there, in the middle of the images."""
    names = [f"thing {n}" for n in range(6)]
    count = 6000
    images = sets.pictures(50)
    source = sets.classification(
        tmp_path / "mine", [images[n % 50] for n in range(count)], [n % 6 for n in range(count)], names, ["a {c}"]
    )
    provide(TaskSource(kind="folder", path=str(source)), tmp_path / "task")
    output = tmp_path / "out" / "t.json"
    command = [sys.executable, "-m", "amorlip", "evaluate", "--settings", json.dumps({"task": KEYS}), "--key", "t",
               "--folder", str(tmp_path / "task"), "--output", str(output), "--workers", "0", "--model", "demo",
               "--pretrained", str(weights)]  # fmt: skip
    process = subprocess.Popen(command)
    while process.poll() is None and not list(tmp_path.glob("out/features/*.safetensors")):
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["features"]
