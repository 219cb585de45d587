"""Bad samples that would all fall to one of two ranks: both ranks stay in step."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from amorlip.corpus.manifest import build_manifest
from amorlip.loader.loader import PairLoader
from tests.helpers import chain as chains
from tests.helpers.chain import Chain
from tests.helpers.miniatures import any_corpus, pair, picture, write_record, write_split, write_tar

PAIRS, BATCH = 48, 8


def zeroed(data: bytes) -> bytes:
    """A picture whose chunks are whole, but whose pixels cannot be decoded."""
    return data[:60] + bytes(len(data) - 90) + data[-30:]


BAD = {
    "image cannot be decoded": lambda n: {**pair(n), "png": zeroed(picture(n))},
    "image is cut short": lambda n: {**pair(n), "png": picture(n)[:-40]},
    "not an image": lambda n: {**pair(n), "png": b""},
    "no caption": lambda n: {key: data for key, data in pair(n).items() if key != "txt"},
    "no image": lambda n: {"exe": picture(n), **{k: d for k, d in pair(n).items() if k != "png"}},
    "duplicate key": pair,
}


def loader(folder: Path, rank: int = 0, world_size: int = 1) -> PairLoader:
    return PairLoader(
        folder, batch_size=BATCH, epochs=2, seed=0, rank=rank, world_size=world_size,
        transform=lambda pixels, _: torch.from_numpy(pixels[:4, :4].copy()),
        tokenizer=lambda texts: torch.tensor([len(text) for text in texts]),
    )  # fmt: skip


def test_every_bad_sample_on_one_rank(tmp_path):
    """Spoiled are the pairs of rank 1 in the first batches, in as many ways as there are."""
    whole = write_split(tmp_path / "whole", [list(range(PAIRS))])
    of_rank_1 = [n for batch in loader(whole, 1, 2).batches() for n in batch.sample_ids.tolist()][:12]
    bad = dict(zip(of_rank_1, list(BAD) * 2, strict=True))
    samples = [(str(n), BAD[bad[n]](n) if n in bad else pair(n)) for n in range(PAIRS)]
    # of equal keys the first one counts: the others come later in the shard, under the name of a good pair
    good = max(n for n in range(PAIRS) if n not in bad)
    order = [item for item in samples if bad.get(int(item[0])) != "duplicate key"]
    order += [(str(good), members) for name, members in samples if bad.get(int(name)) == "duplicate key"]
    folder = tmp_path / "train"
    write_tar(folder / "00000.tar", order)
    write_record(folder, ["00000.tar"], PAIRS)
    build_manifest("test", any_corpus(), "train", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["refused"] == dict(Counter(bad.values())) and manifest["samples"] == PAIRS - len(bad)
    one, parts = list(loader(folder).batches()), [list(loader(folder, rank, 2).batches()) for rank in (0, 1)]
    assert len(one) == len(parts[0]) == len(parts[1]) == 2 * ((PAIRS - len(bad)) // BATCH)
    for whole_batch, *halves in zip(one, *parts, strict=True):
        ids = torch.cat([half.sample_ids for half in halves])
        assert torch.equal(ids, whole_batch.sample_ids) and not set(ids.tolist()) & set(bad)


@pytest.mark.slow
@pytest.mark.distributed
def test_damage_that_one_rank_meets_in_training_ends_both(inputs: Chain, tmp_path):
    """Bytes that change on the disk without a trace stop the run: one line, exit code 1, nobody waits for ever."""
    copy = inputs.copy(tmp_path / "chain")
    shard, image = copy.shards / "00001.tar", picture(40)
    data = shard.read_bytes()
    place = data.index(image)
    shard.write_bytes(data[:place] + zeroed(image) + data[place + len(image) :])
    later = shard.stat().st_mtime + 3600
    os.utime(copy.shards / "manifest.json", (later, later))
    done = chains.run(copy.train_stage(tmp_path / "run", ranks=2, epochs=1))
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("amorlip train: ")]
    assert len(told) == 1 and "00001.tar, sample 40 (byte" in told[0] and "image cannot be decoded" in told[0], (
        done.stderr
    )
