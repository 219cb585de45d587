"""Both sides of the benchmark read the same pairs, and its files say what was measured."""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from amorlip import models
from amorlip.bench import loader as bench
from amorlip.bench import pictures
from amorlip.bench.hand_over import HandedOver
from amorlip.common.errors import AmorlipError
from amorlip.corpus.manifest import read_manifest

KEYS = {
    "case", "size", "bytes", "ours_per_core", "openclip_per_core", "ratio", "openclip_transform_per_core",
    "transform_ratio", "ours_handed_over_per_core", "openclip_handed_over_per_core", "handed_over_ratio",
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
    assert written["handed_over_ratio"] == pytest.approx(
        result.ours_handed_over_per_core / result.openclip_handed_over_per_core, rel=1e-2
    )
    assert "| tiny |" in (tmp_path / "l.md").read_text()
    assert not multiprocessing.active_children()


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


@pytest.mark.parametrize("side", ["ours", "OpenCLIP's"])
def test_one_process_hands_over_the_same_batches(side, tmp_path):
    """Over the end of the split, each image once per epoch; the process ends with its generator."""
    folder = tmp_path / "train"
    pictures.write_split(folder, TINY.picture, TINY.ending, 2 * bench.BATCH)
    model, tokenizer = models.create("demo", seed=0), models.tokenizer("demo")
    captions = tokenizer([pictures.caption(seed) for seed in range(2 * bench.BATCH)])
    if side == "ours":
        batches = bench.ours(TINY, model, folder, epochs=2, workers=1)
    else:
        batches = bench.endless_open_clips(folder, models.eval_transform(model), tokenizer)
    for _ in range(2):
        tokens = torch.cat([next(batches)[1] for _ in range(2)])
        assert len(multiprocessing.active_children()) == 1
        assert torch.equal(torch.unique(tokens, dim=0), torch.unique(captions, dim=0))
    batches.close()
    assert not multiprocessing.active_children()


BURN_S = 0.05


class Burning(IterableDataset):
    """Each item takes `BURN_S` of CPU time."""

    def __iter__(self):
        while True:
            start = time.process_time()
            while time.process_time() - start < BURN_S:
                pass
            yield start


def test_the_time_of_a_loaders_process_is_that_of_what_was_taken():
    """Not of what it makes in advance, of which there are two items here. This process burns CPU time as well."""

    def batches():
        for item in DataLoader(Burning(), batch_size=None, num_workers=1, prefetch_factor=2):
            start = time.process_time()
            while time.process_time() - start < BURN_S:
                pass
            yield item

    with HandedOver(batches()) as loader:
        found = [loader.seconds(2) for _ in range(3)]
    assert all(4 * BURN_S <= seconds < 5.5 * BURN_S for seconds in found)
    assert not multiprocessing.active_children()


def test_a_loader_without_a_process_is_refused():
    with pytest.raises(AmorlipError, match="started 0 processes"):
        HandedOver(iter([1, 2]))


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
