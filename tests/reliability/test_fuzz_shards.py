"""Flipped bytes in a split's files: refused in one line, or every image still has its own caption."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from amorlip.common.errors import AmorlipError
from amorlip.corpus.manifest import build_manifest, read_manifest
from amorlip.loader.decode import decode
from amorlip.loader.index import read_index
from amorlip.loader.loader import PairLoader
from tests.helpers.miniatures import any_corpus, pair, picture, write_record, write_tar

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("AMORLIP_FUZZ", "150"))
FUZZ = settings(deadline=None, derandomize=True, max_examples=EXAMPLES)
IDS = range(6)
ENDINGS = ("png", "jpg", "webp")
LENGTH = 40

flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=4)
"""Place in the file, and bit."""


def caption(number: int) -> str:
    """Far from every other one: a few flips do not turn one into another."""
    return hashlib.sha256(b"%d" % number).hexdigest()[:LENGTH]


def write(folder: Path, ending: str) -> Path:
    """One shard, so that it is read in this process, and nothing else."""
    write_tar(folder / "00000.tar", [(str(n), {**pair(n, ending), "txt": caption(n).encode()}) for n in IDS])
    write_record(folder, ["00000.tar"], len(IDS))
    return folder


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    folder = write(tmp_path_factory.mktemp("split") / "train", "png")
    build_manifest("test", any_corpus(), "train", folder)
    return folder


def plain(pixels: np.ndarray, _: random.Random | None = None) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.fromarray(pixels).resize((16, 16)))).permute(2, 0, 1)


def tokens(texts: list[str]) -> torch.Tensor:
    return torch.tensor([list(text.encode()[:LENGTH].ljust(LENGTH, b"\0")) for text in texts])


IMAGES = {plain(decode(picture(number))).numpy().tobytes(): number for number in IDS}
CAPTIONS = {caption(number): number for number in IDS}


def flip(path: Path, places: list[tuple[float, int]]) -> None:
    """Flip bits where bytes of content are: half of a small tar is padding."""
    data = bytearray(path.read_bytes())
    used = np.flatnonzero(np.frombuffer(bytes(data), np.uint8))
    for place, bit in places:
        data[used[int(place * len(used))]] ^= 1 << bit
    path.write_bytes(data)


def read(folder: Path, *, again: bool) -> int:
    """Read everything once, after the stage `shards` if `again`; the number of pairs that were read.

    Raises AssertionError if an image has another one's caption, or a message is not one line.
    """
    try:
        if again:
            build_manifest("test", any_corpus(), "train", folder)
        loader = PairLoader(folder, batch_size=1, epochs=1, seed=0, transform=plain, tokenizer=tokens)
        batches = list(loader.batches())
    except AmorlipError as error:
        assert str(error) and "\n" not in str(error)
        event("refused")
        return 0
    for images, words, ids in batches:
        image = IMAGES.get(images[0].numpy().tobytes())
        words_of = CAPTIONS.get(bytes(words[0].tolist()).rstrip(b"\0").decode(errors="replace"))
        assert image is None or words_of is None or image == words_of, (image, words_of)
        assert 0 <= int(ids[0]) <= loader.max_sample_id
    event(f"{len(batches)} of {len(IDS)} pairs read")
    return len(batches)


def flipped(split: Path, name: str, places: list[tuple[float, int]], *, again: bool) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(split, Path(scratch) / "train")
        flip(folder / name, places)
        return read(folder, again=again)


def test_without_flips_every_pair_is_recognized(split):
    assert len(IMAGES) == len(CAPTIONS) == len(IDS)
    loader = PairLoader(split, batch_size=6, epochs=1, seed=0, transform=plain, tokenizer=tokens)
    images, words, _ = next(loader.batches())
    assert {IMAGES[image.numpy().tobytes()] for image in images} == set(IDS)
    assert {CAPTIONS[bytes(row.tolist()).decode()] for row in words} == set(IDS)


@given(flips)
@FUZZ
def test_flips_before_the_shards_are_checked(split, places):
    flipped(split, "00000.tar", places, again=True)


@given(st.sampled_from(["00000.tar", "index.parquet", "manifest.json"]), flips)
@FUZZ
def test_flips_after_the_shards_were_checked(split, name, places):
    assert flipped(split, name, places, again=False) in (0, 6)


def test_every_byte_of_the_index_matters_or_is_not_read(split, tmp_path):
    """One flip at a time, through the whole file: refused, or the index is as it was."""
    folder = shutil.copytree(split, tmp_path / "train")
    manifest, whole = read_manifest(folder), (folder / "index.parquet").read_bytes()
    expected, refused = read_index(folder, manifest), 0
    for place in range(0, len(whole), 3):
        (folder / "index.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert np.array_equal(read_index(folder, manifest), expected), place
        except AmorlipError:
            refused += 1
    assert refused > len(whole) / 3 / 2


@given(flips)
@FUZZ
def test_flips_that_change_no_time(split, places):
    """As a bad disk does: the manifest looks newer than the shards."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(split, Path(scratch) / "train")
        flip(folder / "00000.tar", places)
        later = (folder / "00000.tar").stat().st_mtime + 3600
        os.utime(folder / "manifest.json", (later, later))
        read(folder, again=False)


@given(st.sampled_from(ENDINGS), flips)
@FUZZ
def test_what_the_check_lets_through_can_be_decoded(ending, places):
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch) / "train", ending)
        flip(folder / "00000.tar", places)
        try:
            build_manifest("test", any_corpus(), "train", folder)
        except AmorlipError:
            event("refused")
            return
        event("read")
        loader = PairLoader(folder, batch_size=1, epochs=1, seed=0, transform=plain, tokenizer=tokens)
        assert len(list(loader.batches())) == loader.samples
