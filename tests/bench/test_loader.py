"""Both sides of the benchmark read the same pairs, and its files say what was measured."""

from __future__ import annotations

import io
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from amorlip import models
from amorlip.bench import loader as bench
from amorlip.bench import pictures
from amorlip.corpus.manifest import read_manifest

KEYS = {
    "case", "size", "bytes", "ours_per_core", "openclip_per_core", "ratio", "openclip_transform_per_core",
    "transform_ratio",
}  # fmt: skip
TINY = bench.Case("tiny", partial(pictures.drawing, 40), "png", "demo", 0.8, pairs=bench.BATCH)


def test_result_files(tmp_path):
    threads = torch.get_num_threads()
    [result] = bench.run(tmp_path / "l.json", tmp_path / "l.md", [TINY], rounds=2)
    assert torch.get_num_threads() == threads
    [written] = json.loads((tmp_path / "l.json").read_text())
    assert written.keys() == KEYS and written["case"] == "tiny" and written["size"] == 32
    assert written["ratio"] == pytest.approx(result.ours_per_core / result.openclip_per_core, rel=1e-2)
    assert written["transform_ratio"] == pytest.approx(
        result.ours_per_core / result.openclip_transform_per_core, rel=1e-2
    )
    assert "| tiny |" in (tmp_path / "l.md").read_text()


@pytest.mark.parametrize("case", bench.CASES, ids=lambda case: case.name)
def test_both_sides_read_the_same(case, tmp_path):
    """Images of the same shape, nearly each most like its own counterpart, and the same captions' tokens."""
    folder = tmp_path / "train"
    pictures.write_split(folder, case.picture, case.ending, bench.BATCH)
    model = models.create(case.model, seed=0)
    tokenizer = models.tokenizer(case.model)
    levels, tokens, ids = next(bench.ours(case, model, folder, epochs=1))
    images, words = next(bench.open_clips(folder, models.eval_transform(model), tokenizer))
    assert images.shape == levels.shape == (bench.BATCH, 3, *[model.visual.preprocess_cfg["size"]] * 2)
    order = ids.argsort()
    assert torch.equal(tokens[order], words)
    assert torch.equal(words, tokenizer([pictures.caption(seed) for seed in range(bench.BATCH)]))
    ours = models.Normalization(model)(levels[order])
    recognized = likeness(ours, images).argmax(dim=1) == torch.arange(bench.BATCH)
    assert recognized.float().mean() > 0.9


def likeness(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Correlations (b, b) of the images as 4 x 4 pixels: crops differ, but not beyond recognition."""
    small = [torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1) for images in (first, second)]
    return torch.corrcoef(torch.cat(small))[: len(first), len(first) :]


def test_photographs_have_the_spectrum_of_natural_images():
    """Amplitudes fall as 1/f over two octaves, and colors are correlated; equal seeds give equal bytes."""
    data = pictures.photograph(500, 375, seed=1)
    assert data == pictures.photograph(500, 375, seed=1) != pictures.photograph(500, 375, seed=2)
    pixels = np.asarray(Image.open(io.BytesIO(data)), float)
    assert pixels.shape == (375, 500, 3)
    gray = pixels.mean(axis=2)
    amplitude = np.abs(np.fft.rfft2(gray - gray.mean()))
    frequency = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None])
    bands = [amplitude[(f / 1.2 < frequency) & (frequency < f * 1.2)].mean() for f in (0.05, 0.1, 0.2)]
    slopes = np.diff(np.log2(bands))
    assert np.abs(slopes + 1).max() < 0.15
    assert np.corrcoef(pixels[..., 0].ravel(), pixels[..., 2].ravel())[0, 1] > 0.7


def test_splits_are_checked_like_any_other(tmp_path):
    size = pictures.write_split(tmp_path / "train", partial(pictures.drawing, 24), "png", 5)
    manifest = read_manifest(tmp_path / "train")
    assert manifest.samples == 5 and manifest.refused == {}
    assert size == round(np.mean([len(pictures.drawing(24, seed)) for seed in range(5)]))
