from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amorlip.common.errors import AmorlipError
from amorlip.corpus.manifest import INDEX_SCHEMA, build_manifest
from amorlip.loader.loader import Batch, PairLoader
from tests.common.test_images import PNG, on_white
from tests.helpers.miniatures import any_corpus, pair, write_record, write_split, write_tar

SHARDS = [[12, 3, 40, 7], [5, 9, 30, 31, 32], [1, 2, 8, 99, 60, 61], [70, 71, 4, 6, 13, 14, 15, 16]]
IDS = sorted(number for shard in SHARDS for number in shard)


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    return write_split(tmp_path_factory.mktemp("split"), SHARDS)


def plain(pixels, generator):
    return torch.from_numpy(pixels).permute(2, 0, 1)


def noisy(pixels, generator):
    return plain(pixels, generator) + 3 * generator.random()


def bytes_of(texts: list[str]) -> torch.Tensor:
    """The UTF-8 bytes of each text, padded with zeros."""
    rows = [list(text.encode()) for text in texts]
    return torch.tensor([row + [0] * (12 - len(row)) for row in rows])


def loader(folder: Path, **changes) -> PairLoader:
    defaults = {"batch_size": 4, "epochs": 3, "seed": 0, "transform": plain, "tokenizer": bytes_of, "workers": 0}
    return PairLoader(folder, **{**defaults, **changes})


def collect(folder: Path, start_step: int = 0, **changes) -> list[Batch]:
    return list(loader(folder, **changes).batches(start_step))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(x, y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
    )


def ids_of(batches: list[Batch]) -> list[list[int]]:
    return [batch.sample_ids.tolist() for batch in batches]


def test_what_it_says_of_the_corpus(split):
    pairs = loader(split)
    assert (pairs.samples, pairs.max_sample_id, pairs.steps_per_epoch) == (23, 99, 5)
    assert len(pairs.digest) == 64


def test_images_captions_and_ids_belong_together(split):
    for batch in collect(split):
        assert batch.images.dtype == torch.uint8 and batch.images.shape == (4, 3, 16, 16)
        assert batch.tokens.dtype == batch.sample_ids.dtype == torch.int64
        for image, tokens, number in zip(*batch, strict=True):
            members = pair(int(number))
            assert bytes(tokens.tolist()).rstrip(b"\0") == members["txt"]
            pixels = np.random.default_rng(int(number)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("window", [0, 1, 2, 9])
@pytest.mark.parametrize("batch_size", [4, 23])
def test_each_pair_at_most_once_an_epoch(split, window, batch_size):
    steps = 23 // batch_size
    batches = ids_of(collect(split, shuffle_window=window, batch_size=batch_size))
    assert len(batches) == 3 * steps
    orders = []
    for epoch in range(3):
        seen = [number for batch in batches[epoch * steps : (epoch + 1) * steps] for number in batch]
        assert len(seen) == len(set(seen)) == steps * batch_size and set(seen) <= set(IDS)
        orders.append(tuple(seen))
    assert len(set(orders)) == 3


def test_the_dropped_pairs_change_over_epochs(split):
    batches = ids_of(collect(split, epochs=12))
    dropped = Counter(IDS * 12)
    dropped.subtract(number for batch in batches for number in batch)
    assert dropped.total() == 36 and len(+dropped) > 12


def test_order_is_spread_over_the_corpus(split):
    """Every pair comes first about equally often: 400 epochs, 23 pairs; χ² below its 99.9% quantile."""
    order = loader(split, epochs=400).plan.order
    first = Counter(int(order.rows(epoch, np.arange(1))[0]) for epoch in range(400))
    chi2 = sum((first[row] - 400 / 23) ** 2 / (400 / 23) for row in range(23))
    assert chi2 < 48.3


def test_a_window_keeps_its_shards_together(split):
    shard_of = {number: position for position, shard in enumerate(SHARDS) for number in shard}
    order = [shard_of[number] for batch in ids_of(collect(split, shuffle_window=2, batch_size=1)) for number in batch]
    windows = []
    for epoch in range(3):
        shards = order[epoch * 23 : (epoch + 1) * 23]
        first = next(
            pair
            for pair in itertools.combinations(range(4), 2)
            if set(shards[: sum(len(SHARDS[shard]) for shard in pair)]) == set(pair)
        )
        changes = sum(one != other for one, other in itertools.pairwise(shards))
        assert changes > 6  # three, if shards were read one after the other
        windows.append(first)
    assert len(set(windows)) > 1


def test_seeds(split):
    assert equal(collect(split, transform=noisy), collect(split, transform=noisy))
    other = collect(split, seed=1)
    assert ids_of(other) != ids_of(collect(split))


def test_augmentation_depends_on_seed_epoch_and_pair_alone(split):
    """A pair's noise is the same in batches of another size, and another in another epoch or under another seed."""

    def noise(**changes) -> dict[tuple[int, int], float]:
        found = {}
        for step, batch in enumerate(collect(split, transform=noisy, **changes)):
            epoch = step // (23 // changes["batch_size"])
            for image, number in zip(batch.images, batch.sample_ids.tolist(), strict=True):
                pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
                found[epoch, number] = round(float(image.mean()) - float(pixels.mean()), 3)
        return found

    small, large = noise(batch_size=4), noise(batch_size=11)
    both = small.keys() & large.keys()
    assert len(both) > 50 and all(small[key] == large[key] for key in both)
    assert len(set(small.values())) > 50
    assert all(noise(batch_size=4, seed=1).get(key) != value for key, value in small.items())


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_global_batch(split, world_size):
    whole = collect(split, transform=noisy, batch_size=8)
    parts = [collect(split, transform=noisy, batch_size=8, rank=r, world_size=world_size) for r in range(world_size)]
    joined = [Batch(*(torch.cat(column) for column in zip(*step, strict=True))) for step in zip(*parts, strict=True)]
    assert equal(whole, joined)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(split, workers):
    whole = collect(split, transform=noisy)
    assert equal(whole, collect(split, transform=noisy, workers=workers))
    assert equal(whole[7:], collect(split, 7, transform=noisy, workers=workers))


@pytest.mark.parametrize(("workers", "in_flight"), [(0, 0), (1, 0), (2, 8)])
def test_a_caption_is_tokenized_once_for_all_epochs(split, tmp_path, workers, in_flight):
    """Workers share what they made, but for the batches that both have before them at the end of the first epoch."""
    log = tmp_path / "asked"

    def tokenizer(texts: list[str]) -> torch.Tensor:
        with log.open("a") as file:
            file.write("".join(f"{text}\n" for text in texts if text))
        return bytes_of(texts)

    options = {"batch_size": 1, "epochs": 12}
    assert equal(collect(split, tokenizer=tokenizer, workers=workers, **options), collect(split, **options))
    asked = log.read_text().splitlines()
    assert set(asked) == {f"thing {number}" for number in IDS}
    assert len(IDS) <= len(asked) <= len(IDS) + in_flight


@given(st.integers(0, 15))
@settings(deadline=None, max_examples=16)
def test_resuming_gives_the_same_batches(split, step):
    assert equal(collect(split, transform=noisy)[step:], collect(split, step, transform=noisy))


def test_how_pairs_lie_in_shards_does_not_matter(split, tmp_path):
    other = write_split(tmp_path, [IDS[15:], IDS[:15]])
    assert equal(collect(split, transform=noisy), collect(other, transform=noisy))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_generators_of_the_process_are_left_alone(split, workers):
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(3), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    for number, _ in enumerate(loader(split, transform=noisy, workers=workers).batches()):
        if number == 2:
            break
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(), random.random()) == expected[1:]


def spoil(folder: Path) -> Path:
    """Overwrite pixels of one image with as many other bytes, as a bad disk does: sizes and times do not show it."""
    write_split(folder, [[0, 1, 2, 3]])
    later = (folder / "manifest.json").stat().st_mtime + 3600
    os.utime(folder / "manifest.json", (later, later))
    data = (folder / "00000.tar").read_bytes()
    image = pair(2)["png"]
    place = data.index(image)
    (folder / "00000.tar").write_bytes(data[: place + 30] + bytes(len(image) - 60) + data[place + len(image) - 30 :])
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, workers):
    with pytest.raises(AmorlipError, match=r"00000\.tar, sample 2 \(byte .*not an image") as error:
        collect(spoil(tmp_path), workers=workers)
    assert "\n" not in str(error.value)


def test_more_shards_than_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr("amorlip.loader.shards.MOST_OPEN", 2)
    folder = write_split(tmp_path, [[i] for i in range(6)])
    pairs = loader(folder, batch_size=1)
    assert sorted(number for [number] in ids_of(list(pairs.batches()))) == sorted(list(range(6)) * 3)
    assert len(pairs._pairs.shards.files) == 2


def test_batches_that_do_not_fit(split):
    with pytest.raises(AmorlipError, match="batch_size 24 is larger than the corpus of 23 pairs"):
        loader(split, batch_size=24)
    with pytest.raises(AmorlipError, match="batch_size 4 is not a multiple of ranks 3"):
        loader(split, world_size=3)


def test_shards_that_are_not_the_manifests(tmp_path):
    with pytest.raises(AmorlipError, match=r"manifest\.json: No such file.*run the stage `shards`"):
        loader(tmp_path)
    write_split(tmp_path, [[0, 1], [2, 3]])
    whole = (tmp_path / "00001.tar").read_bytes()
    (tmp_path / "00001.tar").write_bytes(whole[:-512])
    with pytest.raises(AmorlipError, match=rf"00001\.tar has {len(whole) - 512} bytes, .* lists {len(whole)}"):
        loader(tmp_path)
    (tmp_path / "00001.tar").write_bytes(whole[:-1] + b"x")
    with pytest.raises(AmorlipError, match=r"00001\.tar does not match its checksum in .*; restore the original"):
        loader(tmp_path)
    (tmp_path / "00001.tar").unlink()
    with pytest.raises(AmorlipError, match=r"00001\.tar is missing"):
        loader(tmp_path)
    (tmp_path / "00001.tar").write_bytes(whole)
    (tmp_path / "index.parquet").write_bytes(
        write_split(tmp_path / "other", [[0]]).joinpath("index.parquet").read_bytes()
    )
    with pytest.raises(AmorlipError, match=r"index\.parquet cannot be read: it does not match its checksum in man"):
        loader(tmp_path)


def test_an_index_with_other_captions(split, tmp_path):
    """A whole parquet file of the right length, in which two captions changed places."""
    folder = shutil.copytree(split, tmp_path / "split")
    rows = pq.read_table(folder / "index.parquet").to_pandas()
    for place in ("caption_offset", "caption_bytes"):
        rows[place] = [*rows[place][1::-1], *rows[place][2:]]
    table = pa.Table.from_pandas(rows, schema=INDEX_SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), folder / "index.parquet")
    with pytest.raises(AmorlipError, match=r"index\.parquet cannot be read: it does not match its checksum"):
        loader(folder)
    record = json.loads((folder / "manifest.json").read_text())
    del record["index_sha256"]  # as an earlier version wrote it
    (folder / "manifest.json").write_text(json.dumps(record))
    assert loader(folder).samples == len(rows)


@pytest.mark.parametrize("transparency", ["drop", "white"])
def test_transparent_pixels_as_the_corpus_has_it(transparency, tmp_path):
    """The manifest carries the key from the corpus to the loader."""
    data, colors, opacity = PNG["RGBA, 8 bits"]
    write_tar(tmp_path / "00000.tar", [("0", {**pair(7), "png": data})])
    write_record(tmp_path, ["00000.tar"], 1)
    build_manifest("test", any_corpus(transparency=transparency), "train", tmp_path)
    [batch] = collect(tmp_path, batch_size=1, epochs=1)
    expected = colors if transparency == "drop" else on_white(colors, opacity)
    assert np.abs(batch.images[0].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_transparency_is_part_of_the_corpus_digest(split, tmp_path):
    digests = set()
    for transparency in ("drop", "white"):
        build_manifest("test", any_corpus(transparency=transparency), "train", split)
        digests.add(loader(split).digest)
    assert len(digests) == 2
