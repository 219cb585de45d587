"""Full and read-only disks: one line, nothing half-written, and all is well once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import chain as chains
from tests.helpers import disks, forks
from tests.helpers.chain import Chain, finish, told_in_one_line

WRITERS = {
    "urls": lambda chain, disk: chain.urls_stage(disk / "out" / "urls.parquet"),
    "tasks": lambda chain, disk: chain.tasks_stage(disk / "out"),
    "train": lambda chain, disk: chain.train_stage(disk / "out", method="clip", epochs=1, every=8),
    "evaluate": lambda chain, disk: chain.evaluate_stage(disk / "out" / "evaluations" / "openmoji.json"),
    "table": lambda chain, disk: chain.shown_stage("table", disk / "out"),
    "figure": lambda chain, disk: chain.shown_stage("figure", disk / "out"),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 200 MB."""
    with disks.disk(tmp_path / "disk", "200m") as folder:
        yield folder


def left(disk: Path) -> list[str]:
    """Files on the disk that hold something, without logs and events."""
    harmless = (".lock", "train.log", "metrics.jsonl")
    found = (path for path in disk.rglob("*") if path.is_file() and path.stat().st_size)
    return [path.name for path in found if path.name not in (*harmless, "filler") and "tfevents" not in path.name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's writer
@pytest.mark.parametrize("stage", WRITERS)
def test_a_full_disk_stops_a_stage(chain: Chain, disk, stage):
    filler = disks.fill(disk)
    said = told_in_one_line(chains.call(WRITERS[stage](chain, disk)), stage)
    assert "No space left on device; free some space" in said and str(disk / "out") in said
    assert left(disk) == []
    filler.unlink()
    finish(WRITERS[stage](chain, disk))


@pytest.mark.parametrize("stage", ["urls", "train", "figure"])
def test_a_read_only_disk_stops_a_stage(chain: Chain, disk, stage):
    disks.make_read_only(disk)
    said = told_in_one_line(chains.call(WRITERS[stage](chain, disk)), stage)
    assert str(disk / "out") in said and "Read-only file system; choose a folder that can be written to" in said


@pytest.mark.slow
def test_a_download_that_finds_no_room_is_finished_later(chain: Chain, disk, tmp_path):
    finish(chain.urls_stage(tmp_path / "urls.parquet"))
    stage = chain.download_stage(tmp_path / "urls.parquet", disk / "train")
    filler = disks.fill(disk, free=60_000)
    done = chains.run(stage)
    assert done.returncode == 1
    assert "shards could not be written to" in done.stderr.splitlines()[-1]
    assert not (disk / "train" / "download.json").exists()
    filler.unlink()
    finish(stage)
    finish(chain.shards_stage(disk / "train"))


def test_a_disk_that_fills_up_during_a_run_costs_only_the_last_steps(tiny_run, tiny_shards, whole, tmp_path):
    """Two checkpoints fit on the disk, and the third one does not; there is more room later."""
    size = sum(path.stat().st_size for path in whole.glob("checkpoints/*/*.pt")) + (1 << 20)
    with disks.disk(tmp_path / "run", str(size)) as output:
        assert forks.end(forks.start(tiny_run, tiny_shards, output)) == 1
        assert "OSError: [Errno 28] No space left on device" in (tmp_path / "run.err").read_text()
        checkpoints = [path.name for path in output.glob("checkpoints/*/step-*.json")]
        assert sorted(checkpoints) == ["step-00000002.json", "step-00000004.json"]
        subprocess.run(["mount", "-o", f"remount,size={3 * size}", str(output)], check=True)
        assert forks.end(forks.start(tiny_run, tiny_shards, output)) == 0
        assert "resumed after step 4" in (output / "train.log").read_text()
        assert forks.ending(output) == forks.ending(whole)
