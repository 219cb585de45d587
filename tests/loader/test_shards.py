"""Slow reads cost nothing, and any number of shards can be read."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import time
from pathlib import Path

import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.corpus.manifest import read_manifest
from amorlip.loader import local_copy, shards
from amorlip.loader.loader import PairLoader
from amorlip.loader.shards import Shards
from tests.helpers.miniatures import write_split

PAIRS, BATCH, DECODING_S = 96, 16, 0.004
"""A picture of 341 x 256 takes a quarter of it; so other work on the machine matters less."""


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    ids = list(range(PAIRS))
    return write_split(tmp_path_factory.mktemp("split"), [ids[start::4] for start in range(4)])


def slow_to_decode(pixels, _):
    time.sleep(DECODING_S)  # other threads may read meanwhile, as during real decoding
    return torch.from_numpy(pixels).permute(2, 0, 1)


def loader(folder: Path, **changes) -> PairLoader:
    options = {"batch_size": BATCH, "epochs": 2, "seed": 0, "transform": slow_to_decode}
    return PairLoader(
        folder, **{**options, "tokenizer": lambda texts: torch.tensor([[len(t)] for t in texts]), **changes}
    )


def not_in_memory(*_: object) -> int:
    raise BlockingIOError


def seconds(folder: Path, monkeypatch: pytest.MonkeyPatch, latency_s: float, workers: int) -> float:
    """From the first batch to the last one, if every read takes `latency_s` longer."""
    with monkeypatch.context() as patch:
        read = os.pread

        def slow(*arguments: int) -> bytes:
            time.sleep(latency_s)
            return read(*arguments)

        patch.setattr(shards.os, "pread", slow)
        patch.setattr(shards.os, "preadv", not_in_memory)
        batches = loader(folder, workers=workers).batches()
        next(batches)
        start = time.perf_counter()
        for _ in batches:
            pass
        return time.perf_counter() - start


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("latency_s", [0.001, 0.005])
def test_slow_reads_cost_nothing(split, monkeypatch, workers, latency_s):
    """One after the other, they would take a fourth longer, or more than twice as long: captions are read as well.

    Up to four tries: other work on the machine can only make the slow side look slower.
    """
    ratios = []
    for _ in range(4):
        ratios.append(seconds(split, monkeypatch, latency_s, workers) / seconds(split, monkeypatch, 0.0, workers))
        if ratios[-1] < 1.1:
            return
    pytest.fail(f"{ratios}")


def test_reads_are_issued_before_their_batch_is_decoded(split, monkeypatch):
    """Those of the first two batches, before the first picture is decoded."""
    events, read = [], os.pread
    monkeypatch.setattr(shards.os, "preadv", not_in_memory)
    monkeypatch.setattr(shards.os, "pread", lambda *arguments: (events.append("read"), read(*arguments))[1])

    def decoded(pixels, _):
        time.sleep(0.05)
        events.append("decoded")
        return torch.from_numpy(pixels).permute(2, 0, 1)

    next(loader(split, transform=decoded, epochs=1).batches())
    first = events.index("decoded", events.index("read"))
    assert events[:first].count("read") == 4 * BATCH  # with captions


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EOPNOTSUPP, None])
def test_what_is_in_memory_needs_no_thread(split, monkeypatch, number):
    """None: every second read is answered at once; EOPNOTSUPP: as of a network's file system."""
    expected, calls, read = ids(quick(split)), itertools.count(), os.preadv

    def preadv(*arguments):
        if number is None and next(calls) % 2:
            return read(*arguments)
        raise OSError(number or errno.EAGAIN, "")

    monkeypatch.setattr(shards.os, "preadv", preadv)
    assert ids(quick(split)) == expected
    monkeypatch.setattr(shards.os, "preadv", read)
    monkeypatch.setattr(shards.os, "pread", lambda *_: pytest.fail("these bytes are in memory"))
    assert ids(quick(split)) == expected


def test_the_limit_of_open_files_is_raised(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 3000:
        pytest.skip("this process may not open so many files")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
        assert shards.may_open(2000) == 2000
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 2000 + shards.SPARE
        monkeypatch.setattr(shards.resource, "getrlimit", lambda _: (1024, 1024))
        monkeypatch.setattr(shards.resource, "setrlimit", lambda *_: None)
        assert shards.may_open(2000) == 1024 - shards.SPARE
    finally:
        monkeypatch.undo()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_few_files_may_be_open(tmp_path):
    """Fewer than there are threads that read."""
    folder = write_split(tmp_path, [[number] for number in range(40)])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    pairs = quick(folder, batch_size=40)
    free = max(int(name) for name in os.listdir("/proc/self/fd")) + 4
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        assert [sorted(batch) for batch in ids(pairs)] == [list(range(40))] * 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_shard_that_is_gone_is_one_line(tmp_path):
    folder = write_split(tmp_path, [[0, 1], [2, 3]])
    pairs = loader(folder, batch_size=1)
    (folder / "00001.tar").unlink()
    with pytest.raises(AmorlipError, match=r"shard .*00001\.tar cannot be read \(No such file or directory\)"):
        list(pairs.batches())


def test_shards_are_closed_with_their_reader(split):
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    reader = Shards(split, read_manifest(split).shards)
    for shard in range(4):
        reader.read(shard, 0, 10)
    assert opened() == before + 4
    del reader
    assert opened() == before


def quick(folder: Path, **changes) -> PairLoader:
    return loader(folder, transform=lambda pixels, _: torch.from_numpy(pixels).permute(2, 0, 1), **changes)


def ids(pairs: PairLoader) -> list[list[int]]:
    return [batch.sample_ids.tolist() for batch in pairs.batches()]


def test_local_copies(split, tmp_path):
    """The same batches, read from whichever copy is there: none, one, all."""
    expected = ids(quick(split))
    target = local_copy.place(tmp_path, read_manifest(split))
    assert ids(quick(split, local=tmp_path)) == expected
    target.mkdir()
    (target / "00002.tar").write_bytes((split / "00002.tar").read_bytes())
    (target / "00001.tar").write_bytes(b"half")  # a copy of another program
    pairs = quick(split, local=tmp_path)
    assert ids(pairs) == expected
    assert [pairs._pairs.shards.files[shard].is_local for shard in range(4)] == [False, False, True, False]
    local_copy.start(split, tmp_path).join()
    assert ids(pairs) == expected  # the open originals are left as soon as there are copies
    assert all(file.is_local for file in pairs._pairs.shards.files.values())
    for shard in split.glob("*.tar"):
        assert (target / shard.name).read_bytes() == shard.read_bytes()


def test_copies_appear_while_shards_are_read(split, tmp_path):
    pairs = quick(split, local=tmp_path)
    batches = pairs.batches()
    found = [next(batches).sample_ids.tolist()]
    local_copy.start(split, tmp_path).join()
    found += [batch.sample_ids.tolist() for batch in batches]
    assert found == ids(quick(split))


@pytest.mark.parametrize("problem", ["disk", "checksum"])
def test_a_problem_with_copying_is_a_warning(tmp_path, monkeypatch, caplog, problem):
    folder = write_split(tmp_path / "train", [[0, 1], [2, 3]])
    if problem == "disk":
        monkeypatch.setattr(local_copy, "RESERVE", 2**62)
    else:
        data = bytearray((folder / "00000.tar").read_bytes())
        data[600] ^= 1
        (folder / "00000.tar").write_bytes(data)
    local_copy.start(folder, tmp_path / "local").join()
    said = "the disk is nearly full" if problem == "disk" else "00000.tar does not match its checksum"
    assert said in caplog.text and "the 0 of 2 that are there are read from there" in caplog.text
    assert not list((tmp_path / "local").glob("*/*.tar"))


def test_variables_in_the_folder_of_copies(monkeypatch):
    monkeypatch.setenv("SCRATCH_OF_JOB", "/scratch/7")
    assert local_copy.folder("$SCRATCH_OF_JOB/corpus") == Path("/scratch/7/corpus")
    assert local_copy.folder(None) is None
    with pytest.raises(AmorlipError, match=r"loader\.local: \$NOT_SET/corpus: a variable is not set"):
        local_copy.folder("$NOT_SET/corpus")
