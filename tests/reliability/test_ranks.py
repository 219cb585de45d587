"""Two ranks stay in step whatever the samples, and one that fails, is killed or is stopped takes the other along."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from amorlip.common.errors import AmorlipError
from amorlip.corpus.manifest import build_manifest
from amorlip.loader.loader import PairLoader
from amorlip.training import launch, signals
from amorlip.training.ranks import RENDEZVOUS
from tests.helpers import chain as chains
from tests.helpers import forks, ranks_worker, tiny
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
    assert "Traceback" not in done.stderr
    assert len(told) == 1 and "00001.tar, sample 40 (byte" in told[0] and "image cannot be decoded" in told[0], (
        done.stderr
    )


@pytest.fixture
def signals_as_before(monkeypatch) -> Iterator[None]:
    """`launch` is called in this process; the ranks that outlive another get a second instead of half a minute."""
    monkeypatch.setattr(launch, "GRACE_S", 1)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    before = {number: signal.getsignal(number) for number in (*signals.SIGNALS, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


DAMAGED, FULL = "the image is damaged", "checkpoint: No space left on device"


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("fault", "rank", "place", "line"),
    [
        ("killed", 1, "between", r"rank 1 was ended by SIGKILL \(perhaps for lack of memory\).*start again to resume"),
        ("stopped", 0, "alone", "a rank did not answer the others for minutes .*start again to resume"),
        ("failing", 1, "between", DAMAGED),
        ("disk", 0, "alone", FULL),
        ("stopped", 1, "shared", "a rank did not answer the others for minutes .*start again to resume"),
        ("disk", 1, "shared", FULL),
        ("failing", "all", "shared", DAMAGED),
    ],
)
def test_a_rank_that_is_gone_takes_the_other_along(signals_as_before, capfd, fault, rank, place, line):
    """Within seconds, or the time that an exchange may take; one line in all says what happened."""
    command = [sys.executable, "-m", "tests.helpers.ranks_worker", fault, str(rank), place]
    begun = time.monotonic()
    if fault in ranks_worker.SIGNALS:
        with pytest.raises(AmorlipError, match=line):
            launch.launch(2, command)
    else:
        assert launch.launch(2, command) == 1
    assert time.monotonic() - begun < 60  # most of it for the imports; a peer would wait for an hour
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if b"ranks_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    said = [text for text in capfd.readouterr().err.splitlines() if text.strip()]
    assert len(said) == (0 if fault in ranks_worker.SIGNALS else 1), said
    assert all(text.startswith(f"amorlip train: {line}") for text in said)


def pair_of_ranks(output: Path, shards: Path, meeting: Path, victim: tuple[int, int] | None = None) -> list[int]:
    """Train on two ranks, of which `victim` (rank, step) kills itself; the exit codes."""
    run = tiny.make_run(model="tiny_transformer", ranks=2, checkpoint_every_steps=2, log_every_steps=1)

    def prepare(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", GLOO_SOCKET_IFNAME="lo")
        os.environ[RENDEZVOUS] = f"file://{meeting}"
        if victim and victim[0] == rank:
            forks.kill_before_step(victim[1])

    children = [forks.start(run, shards, output, lambda rank=rank: prepare(rank)) for rank in (0, 1)]
    return [forks.end(child) for child in children]


@pytest.mark.slow
@pytest.mark.distributed
def test_a_run_whose_ranks_were_killed_ends_in_the_same_weights(tmp_path):
    shards, run = tiny.write_corpus(tmp_path / "train"), tmp_path / "run"
    assert pair_of_ranks(tmp_path / "whole", shards, tmp_path / "meeting") == [0, 0]
    begun = time.monotonic()
    assert pair_of_ranks(run, shards, tmp_path / "meeting1", (1, 5)) == [1, -signal.SIGKILL]
    assert pair_of_ranks(run, shards, tmp_path / "meeting2", (0, 11)) == [-signal.SIGKILL, 1]
    assert time.monotonic() - begun < 60
    assert (tmp_path / "run.err").read_text().count("ranks.PeerLost") == 2
    assert pair_of_ranks(run, shards, tmp_path / "meeting3") == [0, 0]
    assert forks.weights(run) == forks.weights(tmp_path / "whole")
