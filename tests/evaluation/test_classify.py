"""Classification of one's own pictures, compared with plain OpenCLIP."""

from __future__ import annotations

import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from amorlip import cli, models
from amorlip.common.errors import AmorlipError
from amorlip.evaluation.classify import classify

NAMES = ["a dog", "a house", "a red heart"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with random weights in the format of OpenCLIP's folders."""
    folder = tmp_path_factory.mktemp("exported")
    network = models.create("demo", seed=3)
    config = {"model_cfg": models.architecture("demo"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def pictures(tmp_path):
    generator = np.random.default_rng(0)
    paths = [tmp_path / "one.png", tmp_path / "zwei, drei.jpg"]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (90, 60, 3), dtype=np.uint8)).save(path)
    return paths


def expected(folder, picture, templates):
    """Probabilities by OpenCLIP alone."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        image = model.encode_image(preprocess(Image.open(picture))[None], normalize=True)
        prompts = [tokenizer([template.replace("{c}", name) for template in templates]) for name in NAMES]
        texts = torch.stack([model.encode_text(tokens, normalize=True).mean(0) for tokens in prompts])
        texts = torch.nn.functional.normalize(texts, dim=-1)
        return dict(zip(NAMES, (model.logit_scale.exp() * image @ texts.T).softmax(-1)[0].tolist(), strict=True))


@pytest.mark.parametrize("templates", [["a photo of a {c}."], ["{c}", "a drawing of {c}"]])
def test_probabilities_are_those_of_openclip(exported, pictures, templates):
    found = list(classify(exported, NAMES, pictures, templates))
    assert [path for path, _ in found] == pictures
    for picture, ranked in found:
        values = [value for _, value in ranked]
        assert values == sorted(values, reverse=True) and sum(values) == pytest.approx(1)
        assert dict(ranked) == pytest.approx(expected(exported, picture, templates), abs=1e-5)


def test_a_folder_cannot_have_its_own_code_run(exported, tmp_path, monkeypatch):
    """Its configuration asks for a tokenizer whose class is a file of the folder, and trusts that file."""
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["mine.Mine", None]}}))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on the terminal"))
    with pytest.raises(AmorlipError, match="not an exported model"):
        models.load_folder(folder)
    assert not (tmp_path / "ran").exists()


def test_the_command_prints_a_line_per_picture(exported, pictures, capsys):
    cli.main(["classify", "--model", str(exported), "--names", ", ".join(NAMES), *map(str, pictures)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == list(map(str, pictures))
    assert all(name in line for line in lines for name in NAMES)


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        (["a"], ["{c}"], "--names a: give two or more different names"),
        (["a", "a"], ["{c}"], "two or more different"),
        (["a", ""], ["{c}"], "two or more different"),
        (["a", "b"], ["a photo"], "--template 'a photo' has no {c}"),
    ],
)
def test_faulty_names_and_templates(exported, pictures, names, templates, message):
    with pytest.raises(AmorlipError, match=message):
        list(classify(exported, names, pictures, templates))


def test_faulty_pictures_and_folders_are_named(exported, pictures, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(AmorlipError, match=r"text\.png"):
        list(classify(exported, NAMES, [*pictures, tmp_path / "text.png"]))
    with pytest.raises(AmorlipError, match=r"absent\.png is not a file"):
        list(classify(exported, NAMES, [tmp_path / "absent.png"]))
    with pytest.raises(AmorlipError, match=r"open_clip_config\.json is missing; give a folder"):
        list(classify(tmp_path, NAMES, pictures))
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        damaged = tmp_path / name.removesuffix(".json").removesuffix(".safetensors")
        damaged.mkdir()
        for path in exported.iterdir():
            (damaged / path.name).write_bytes(path.read_bytes()[: 40 if path.name == name else None])
        with pytest.raises(AmorlipError, match="not an exported model"):
            list(classify(damaged, NAMES, pictures))
