"""Creation, transforms and exchange of models."""

from __future__ import annotations

import logging
import random

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import safe_open

from amorlip import models
from amorlip.common import files
from amorlip.common.errors import AmorlipError
from amorlip.config.recipe import Augmentation
from amorlip.loader.augment import train_transform


def picture(width: int = 80, height: int = 60) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def nudge(model: torch.nn.Module) -> torch.nn.Module:
    """Every tensor away from its start, so that one that is not carried over shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.05 * torch.rand(value.shape, generator=generator))
    return model.eval()


def test_equal_seeds_give_equal_weights_with_any_logit_parameters():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    plain = models.create("demo", seed=3).state_dict()
    torch.rand(7)
    biased = models.create("demo", seed=3, logit_scale_init=10.0, logit_bias_init=-10.0)
    other = models.create("demo", seed=4).state_dict()
    torch.manual_seed(5)
    models.create("demo", seed=9)
    assert torch.equal(before, torch.random.get_rng_state())
    assert biased.logit_scale.exp().item() == pytest.approx(10.0)
    assert biased.logit_bias.item() == -10.0
    assert biased.training
    for key, value in biased.state_dict().items():
        if not key.startswith("logit_"):
            assert torch.equal(value, plain[key]), key
    assert not torch.equal(plain["token_embedding.weight"], other["token_embedding.weight"])


def test_creation_leaves_the_root_logger_alone():
    handlers = list(logging.root.handlers)
    models.create("demo", seed=0)
    assert logging.root.handlers == handlers
    assert logging.root.manager.disable == logging.NOTSET


def test_demo_is_small_and_as_its_file_says():
    model = models.create("demo", seed=0)
    image_features = model.encode_image(torch.zeros(2, 3, 32, 32))
    text_features = model.encode_text(models.tokenizer("demo")(["a dog", "a cat"]))
    assert image_features.shape == text_features.shape == (2, models.embed_dim("demo"))
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    assert sum(parameter.numel() for parameter in model.parameters()) < 12e6


@pytest.mark.parametrize("bias", [None, -10.0])
def test_export_loads_with_plain_open_clip(tmp_path, bias):
    model = nudge(models.create("demo", seed=0, logit_bias_init=bias))
    model.visual.to(memory_format=torch.channels_last)
    path = tmp_path / "model.safetensors"
    models.export(model, path)
    plain, _, preprocess = open_clip.create_model_and_transforms("demo", pretrained=str(path))
    loaded = models.load(path, "demo")
    ours, transform, tokenizer = loaded.network, loaded.preprocess, loaded.tokenizer
    image = transform(picture())
    assert torch.equal(image, preprocess(picture()))
    assert torch.equal(image, models.eval_transform(model)(picture()))
    tokens = open_clip.get_tokenizer("demo")(["a red heart", "smiling face"])
    assert torch.equal(tokens, tokenizer(["a red heart", "smiling face"]))
    assert tokens.shape == (2, 16)
    with torch.no_grad():
        for name, value in [("image", image[None]), ("text", tokens)]:
            expected = getattr(model, f"encode_{name}")(value, normalize=True)
            for loaded in (plain.eval(), ours):
                found = getattr(loaded, f"encode_{name}")(value, normalize=True)
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert ours.logit_scale.item() == model.logit_scale.item()


def test_export_keeps_a_logit_bias_as_metadata(tmp_path):
    from safetensors import safe_open

    models.export(models.create("demo", seed=0, logit_bias_init=-10.0), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "logit_bias" not in set(file.keys())
        assert float(file.metadata()["logit_bias"]) == -10.0


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32"])
def test_exported_weights_of_published_architectures_load(tmp_path, name):
    model = models.create(name, seed=0)
    models.export(model, tmp_path / "model.safetensors")
    loaded = open_clip.create_model(name, pretrained=str(tmp_path / "model.safetensors"))
    assert torch.equal(loaded.text_projection, model.text_projection)
    assert models.tokenizer(name)(["a dog"]).shape == (1, 77)


def test_train_transform_crops_as_the_recipe_says():
    model = models.create("demo", seed=0)
    whole = train_transform(models.image_size(model), Augmentation(crop_scale_min=1.0))
    crop = train_transform(models.image_size(model), Augmentation(crop_scale_min=0.05, crop_scale_max=0.06))
    slope = np.array(Image.linear_gradient("L").convert("RGB"))
    images = [transform(slope, random.Random(0)) for transform in (whole, crop)]
    assert all(image.shape == (3, 32, 32) and image.dtype == torch.uint8 for image in images)
    span = [int(image.amax()) - int(image.amin()) for image in images]
    assert span[1] < 0.5 * span[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_levels_are_normalized_as_in_evaluation(layout):
    """Bit by bit what OpenCLIP's evaluation transform makes of the same square picture."""
    model, square = models.create("demo", seed=0), picture(32, 32)
    levels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].contiguous(memory_format=layout)
    found = models.Normalization(model)(levels)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=layout)
    assert torch.equal(found[0], models.eval_transform(model)(square))


def test_bad_input_is_one_clear_line(tmp_path):
    with pytest.raises(AmorlipError, match="unknown model 'dem0'; did you mean 'demo'"):
        models.create("dem0", seed=0)
    with pytest.raises(AmorlipError, match="from a hub"):
        models.create("ViT-B-16-SigLIP", seed=0)
    with pytest.raises(AmorlipError, match="cannot be read"):
        models.load(tmp_path / "absent.safetensors", "demo")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0")
    with pytest.raises(AmorlipError, match="cannot be read"):
        models.load(tmp_path / "cut.safetensors", "demo")
    models.export(models.create("demo", seed=0), tmp_path / "demo.safetensors")
    with pytest.raises(AmorlipError, match="not the weights of a 'RN50'") as caught:
        models.load(tmp_path / "demo.safetensors", "RN50")
    assert "\n" not in str(caught.value)


def weights_file(header: bytes, content: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (1 << 60).to_bytes(8, "little") + b"{}",
        weights_file(b'{"a":' * 40_000),
        weights_file(b'{"a":{"dtype":"F32","shape":[10000000000000],"data_offsets":[0,40000000000000]}}'),
        weights_file(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}}'),
        weights_file(b'{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        weights_file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    ],
)
def test_hostile_weights_are_one_clear_line(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for load in (lambda: models.load(path, "demo"), lambda: models.load_published("demo", str(path))):
        with pytest.raises(AmorlipError) as caught:
            load()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("load", [models.load, lambda path, model: models.load_published(model, str(path))])
def test_the_checksum_is_that_of_the_weights_that_were_loaded(tmp_path, monkeypatch, load):
    path, other = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    models.export(models.create("demo", seed=0), path)
    models.export(models.create("demo", seed=1), other)
    assert load(path, "demo").sha256 == files.sha256(path)
    checksum = files.sha256
    monkeypatch.setattr(files, "sha256", lambda name: (checksum(name), other.replace(path))[0])
    with pytest.raises(AmorlipError, match="model.safetensors was changed while it was read; run again"):
        load(path, "demo")


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, (48, 31)])
def test_the_evaluation_transform_in_two_parts_is_openclips(mode, interpolation, size):
    """Bit by bit, one picture or a batch, for every way of resizing that OpenCLIP's published weights use."""
    cfg = PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation, fill_color=7, mean=(0.5, 0.4, 0.3))
    whole, parts = image_transform_v2(cfg, is_train=False), models.EvalTransform(cfg)
    pictures = [picture(*shape) for shape in ((64, 64), (50, 71), (31, 200), (32, 32))]
    expected = torch.stack([whole(image) for image in pictures])
    levels = torch.from_numpy(np.stack([parts.picture(image) for image in pictures]))
    assert levels.dtype == torch.uint8
    found = parts.normalize(levels)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(parts(image), one) for image, one in zip(pictures, expected, strict=True))


def test_the_same_weights_are_the_same_file(tmp_path):
    """Also with a logit bias, whose metadata safetensors would write in random order."""
    model = models.create("demo", seed=0, logit_bias_init=-10.0)
    written = set()
    for number in range(8):
        models.export(model, tmp_path / f"{number}.safetensors")
        written.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(written) == 1
    with safe_open(tmp_path / "0.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "logit_bias": "-10.0"}
    assert models.load(tmp_path / "0.safetensors", "demo")
