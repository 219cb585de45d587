"""Crops are distributed as torchvision's, and their pixels are those of OpenCLIP's transform."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop as Reference

from amorlip.loader.augment import RandomResizedCrop
from amorlip.loader.decode import decode
from tests.loader.test_decode import encoded, photo

DRAWS = 4000


def ours(height: int, width: int, scale: tuple[float, float]) -> np.ndarray:
    crop = RandomResizedCrop(32, scale)
    return np.array([crop.box(height, width, random.Random(seed)) for seed in range(DRAWS)])


def theirs(height: int, width: int, scale: tuple[float, float]) -> np.ndarray:
    image = torch.empty(3, height, width, dtype=torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return np.array([Reference.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(DRAWS)])


def facts(boxes: np.ndarray, height: int, width: int) -> dict[str, np.ndarray]:
    top, left, h, w = boxes.T
    return {
        "area": h * w,
        "ratio": w / h,
        "place down": top / np.maximum(1, height - h),
        "place across": left / np.maximum(1, width - w),
        "left over": height + width - h - w,
        "corner": top * w + left,
    }


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.8, 1.0), (0.9, 1.0), (0.3, 0.35)])
@pytest.mark.parametrize(("height", "width"), [(375, 500), (64, 64), (256, 341), (100, 900), (900, 100), (3, 2)])
def test_crops_are_distributed_as_torchvisions(height, width, scale):
    """Kolmogorov-Smirnov tests of six functions of the box, with fixed seeds."""
    found, expected = (facts(boxes(height, width, scale), height, width) for boxes in (ours, theirs))
    for name, values in expected.items():
        assert ks_2samp(found[name], values, method="asymp").pvalue > 1e-3, name


@pytest.mark.parametrize(("height", "width"), [(50, 900), (900, 50), (7, 1), (1, 1)])
def test_the_fallback_is_torchvisions(height, width):
    """No crop of the whole area fits an image that is longer than the ratio allows."""
    assert np.array_equal(ours(height, width, (1.0, 1.0)), theirs(height, width, (1.0, 1.0)))


def test_the_generator_is_all_that_a_crop_depends_on():
    pixels, crop = decode(encoded(photo())), RandomResizedCrop(32, (0.5, 1.0))
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one, two, other = (crop(pixels, random.Random(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(states[0], torch.get_rng_state()) and states[2] == random.getstate()
    assert np.array_equal(states[1], np.random.get_state()[1])


def test_rectangles():
    assert RandomResizedCrop((24, 40), (0.9, 1.0))(decode(encoded(photo())), random.Random(0)).shape == (3, 24, 40)


PICTURES = {
    "jpeg 500 x 375": encoded(photo(500, 375)),
    "jpeg 341 x 256": encoded(photo(341, 256)),
    "jpeg 1024 x 768, progressive": encoded(photo(1024, 768), progressive=True),
    "jpeg 120 x 80, enlarged": encoded(photo(120, 80)),
    "jpeg, noise": encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8))),
    "jpeg, gray": encoded(photo(500, 375).convert("L")),
    "png with alpha": encoded(photo(300, 200, channels=4), "PNG"),
    "png, palette": encoded(photo(300, 200).quantize(64), "PNG"),
    "webp": encoded(photo(300, 200), "WEBP"),
}
MEAN_ERROR = 0.01
"""Of 255 levels, as docs/decisions/2026-11-24-decoding.md states it."""


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("size", "scale"), [(224, (0.9, 1.0)), (224, (0.08, 0.3)), (32, (0.8, 1.0))])
def test_pixels_are_those_of_open_clips_transform(name, size, scale, monkeypatch):
    """With the same crop boxes: on average within `MEAN_ERROR`, and nowhere off by more than two levels."""
    config = PreprocessCfg(size=size)
    transform = image_transform_v2(config, is_train=True, aug_cfg={"scale": scale})
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    pixels, crop = decode(PICTURES[name]), RandomResizedCrop(size, scale)
    errors = []
    for seed in range(3):
        box = crop.box(*pixels.shape[:2], random.Random(seed))
        monkeypatch.setattr(Reference, "get_params", staticmethod(lambda *_, box=box: box))
        expected = transform(Image.open(io.BytesIO(PICTURES[name])).convert("RGB")) * std + mean
        errors.append((crop(pixels, random.Random(seed)) - 255 * expected).abs())
    assert torch.stack(errors).max() < 2.01
    assert torch.stack(errors).mean() < MEAN_ERROR
