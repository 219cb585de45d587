"""Exported runs, loaded by OpenCLIP alone in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.config.corpus import Corpus
from amorlip.config.load import read_yaml
from amorlip.config.run import write_run
from amorlip.evaluation.record import Evaluation, RunIdentity
from amorlip.reporting import model_card, model_folder
from amorlip.training.records import CorpusRecord, Provenance, Start
from tests.helpers import REPOSITORY, tiny

PLAIN = """
import sys
import open_clip, torch
from PIL import Image
from safetensors.torch import save_file
folder, picture, output = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
model.eval()
with torch.no_grad():
    image = model.encode_image(preprocess(Image.open(picture))[None], normalize=True)
    text = model.encode_text(tokenizer(["a dog", "a red heart"]), normalize=True)
bias = model.logit_bias if model.logit_bias is not None else torch.zeros(())
save_file({"image": image, "text": text, "scale": model.logit_scale.detach(), "bias": bias.detach()}, output)
assert not [name for name in sys.modules if name.startswith("amorlip")]
"""


def start(**changes) -> Start:
    here = {"git_revision": "abc", "source_digest": "d", "versions": {"torch": "2"}, "platform": "x", "device": "cpu"}
    return Start.model_validate({"from_step": 1, **here, "cpu_capability": "y", "cuda": None, **changes})


@pytest.fixture
def make(tmp_path):
    """Makes a trained run in its place in a study's results."""

    def make(model: str = "demo", bias: float | None = None, corpus: str = "demo", study: str = "study"):
        run = tiny.make_run("siglip" if bias else "clip", model=model, corpus=corpus, logit_bias_init=bias)
        folder = tmp_path / "results" / study / "runs" / run.scale / run.name
        folder.mkdir(parents=True)
        network = models.create(model, seed=3, logit_bias_init=bias)
        models.export(network, folder / "model.safetensors")
        write_run(run, folder)
        starts = [start(), start(from_step=9, git_revision="def+changes")]
        last = starts[-1].model_dump(exclude={"from_step", "source_digest"})
        Provenance(
            scale=run.scale, method=run.method, variant=None, seed=0, ranks=1, steps=15, samples_seen=120,
            corpus=CorpusRecord(name=corpus, digest="123", pairs=44), skipped_steps=0, training_seconds=9.0,
            wall_seconds=10.0, checkpoints="k", starts=starts, **last,
        ).write(folder / "provenance.json")  # fmt: skip
        return folder

    return make


def evaluate(folder, task: str, value: float | None) -> None:
    path = folder.parents[2] / "evaluations" / folder.parent.name / folder.name / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    identity = RunIdentity(scale="tiny", method="clip", variant=None, seed=0)
    Evaluation(task=task, run=identity, main_metric="acc1", value=value).write(path)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [None, -9.5])
@pytest.mark.parametrize("model", ["demo", "RN50", "ViT-B-32"])
def test_plain_openclip_gives_the_same_features(make, tmp_path, model, bias):
    folder = make(model, bias)
    model_folder.write(folder, tmp_path / "export")
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)).save(picture)
    arguments = [str(tmp_path / "export"), str(picture), str(tmp_path / "found.safetensors")]
    done = subprocess.run([sys.executable, "-I", "-c", PLAIN, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found, loaded = load_file(tmp_path / "found.safetensors"), models.load(folder / "model.safetensors", model)
    with torch.no_grad():
        image = loaded.network.encode_image(loaded.preprocess(Image.open(picture))[None], normalize=True)
        text = loaded.network.encode_text(loaded.tokenizer(["a dog", "a red heart"]), normalize=True)
    torch.testing.assert_close(found["image"], image, rtol=0, atol=1e-6)
    torch.testing.assert_close(found["text"], text, rtol=0, atol=1e-6)
    assert torch.equal(found["scale"], loaded.network.logit_scale.detach())
    assert float(found["bias"]) == (bias or 0.0)


def test_the_card_has_recipe_scores_code_and_licenses(make, tmp_path):
    folder = make()
    evaluate(folder, "openmoji", 0.0512)
    evaluate(folder, "left_out", None)
    model_folder.write(folder, tmp_path / "my-model")
    text = (tmp_path / "my-model" / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "open_clip"
    assert 'create_model_and_transforms("local-dir:my-model")' in body
    assert "| openmoji | acc1 | 5.12 |" in body and "left_out" not in body
    assert "44 of the corpus `demo` (digest `123`)" in body
    assert "`abc` from step 1, `def+changes` from step 9" in body
    recipe = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert recipe["objective"] == "clip" and recipe["recipe"]["batch_size"] == 8
    packages = Corpus(**read_yaml(REPOSITORY / "config/corpora/demo.yaml")).emoji.packages
    listed = {name for name in packages if f"`{name}`" in body}
    assert listed == {name for name, package in packages.items() if package.role in model_card.TRAINED_ON}
    assert {p.name for p in (tmp_path / "my-model").iterdir()} == {
        "README.md", "open_clip_config.json", "open_clip_model.safetensors", "provenance.json", "run.yaml",
    }  # fmt: skip


def test_a_corpus_without_packages_and_a_run_without_evaluations(make, tmp_path):
    model_folder.write(make(corpus="cc3m"), tmp_path / "export")
    text = (tmp_path / "export" / "README.md").read_text()
    assert "Not evaluated yet." in text and "have their own licenses" in text


def test_the_card_of_icon_sets_lists_their_licenses():
    icons = Corpus(**read_yaml(REPOSITORY / "config/corpora/icons.yaml")).icons
    text = model_card._licenses("icons")
    assert f"`{icons.package}` {icons.version}" in text and all(license in text for license in icons.licenses)


def test_nothing_of_a_users_is_overwritten(make, tmp_path):
    folder, output = make(), tmp_path / "mine"
    output.mkdir()
    (output / "README.md").write_text("my own")
    with pytest.raises(AmorlipError, match="mine exists and is not an empty folder; choose another --output"):
        model_folder.write(folder, output)
    with pytest.raises(AmorlipError, match="not an empty folder"):
        model_folder.write(folder, folder)
    assert [path.read_text() for path in output.iterdir()] == ["my own"]


@pytest.mark.parametrize("name", ["model.safetensors", "run.yaml", "provenance.json"])
def test_a_run_that_is_not_trained_is_named(make, tmp_path, name):
    folder = make()
    (folder / name).unlink()
    with pytest.raises(AmorlipError, match=f"{folder} has no {name}; give the folder of a trained run"):
        model_folder.write(folder, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_weights_of_another_model_leave_no_folder(make, tmp_path):
    folder = make()
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(AmorlipError, match="model.safetensors"):
        model_folder.write(folder, tmp_path / "export")
    assert not (tmp_path / "export").exists()
