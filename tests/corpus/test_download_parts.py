"""A download that several jobs divide: the same shards as one job's, each address asked for once, nothing repeated."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather

from amorlip.common.errors import AmorlipError
from amorlip.corpus import division, img2dataset_call, leftovers
from amorlip.corpus.download import download, download_part
from amorlip.corpus.urls import write_table
from tests.corpus.test_download import files, record_of, shard
from tests.helpers.miniatures import any_corpus

ROWS = 50
GONE, LATER, NEVER = "HTTP Error 404: Not Found", "HTTP Error 503: Service Unavailable", "timed out"


def corpus(retries: int = 2):
    return any_corpus(samples_per_shard=4, download={"retries": retries})


@pytest.fixture
def urls(tmp_path) -> Path:
    """Every third row belongs to the other split."""
    count = ROWS * 3 // 2
    splits = pa.array(["validation" if row % 3 == 2 else "train" for row in range(count)])
    urls = pa.array([f"http://x/{row}" for row in range(count)])
    write_table(urls, pa.array(["c"] * count), splits, tmp_path / "urls.parquet")
    return tmp_path / "urls.parquet"


class Web:
    """Stands in for img2dataset: what becomes of an address depends on its id and on how often it was asked for."""

    def __init__(self, monkeypatch) -> None:
        self.asked: list[dict[int, list[int]]] = []
        self.visits: dict[int, int] = {}
        self.kill_after: int | None = None
        monkeypatch.setattr(img2dataset_call, "run", self.run)

    def answer(self, sample_id: int) -> str | None:
        self.visits[sample_id] = self.visits.get(sample_id, 0) + 1
        if sample_id % 10 in (0, 1, 4):
            return {0: GONE, 1: NEVER, 4: LATER if self.visits[sample_id] < 2 else None}[sample_id % 10]
        return None

    def run(self, lists, output, *_) -> None:
        wanted = {int(path.stem): feather.read_table(path)["sample_id"].to_pylist() for path in lists.iterdir()}
        self.asked.append(wanted)
        for done, number in enumerate(sorted(wanted)):
            if done == self.kill_after:
                raise KeyboardInterrupt
            shard(output, number, {sample_id: self.answer(sample_id) for sample_id in wanted[number]})


def in_parts(urls: Path, folder: Path, parts: int, **options) -> dict:
    for part in range(parts, 0, -1):  # in whatever order Snakemake starts them
        download_part(corpus(**options), "train", urls, folder, part, parts)
    download(corpus(**options), "train", urls, folder, parts=parts)
    return record_of(folder)


@pytest.mark.parametrize("parts", [2, 5, 30])
def test_the_shards_do_not_depend_on_the_number_of_jobs(monkeypatch, tmp_path, urls, parts):
    web = Web(monkeypatch)
    download(corpus(), "train", urls, tmp_path / "one")
    expected, visits = record_of(tmp_path / "one"), web.visits
    assert (expected["requested"], expected["downloaded"], sum(expected["failed"].values())) == (50, 39, 11)
    assert set(visits.values()) == {1, 2, 3}
    web.visits = {}
    found = in_parts(urls, tmp_path / "many", parts)
    assert found.pop("parts") == parts and expected.pop("parts") == 1
    assert found == expected and web.visits == visits
    assert files(tmp_path / "one") == files(tmp_path / "many")
    for path in (tmp_path / "one").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


def test_a_killed_part_repeats_nothing_that_was_finished(monkeypatch, tmp_path, urls):
    """Killed in its first pass, in its second, and continued by a division into other parts."""
    web, folder = Web(monkeypatch), tmp_path / "train"
    web.kill_after = 3
    with pytest.raises(KeyboardInterrupt):
        download_part(corpus(), "train", urls, folder, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        download_part(corpus(), "train", urls, folder, 1, 2)
    assert [sorted(wanted) for wanted in web.asked] == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 1_000_000]]
    web.kill_after = None
    in_parts(urls, folder, 3)
    asked = [(number, sample_id) for wanted in web.asked for number, ids in wanted.items() for sample_id in ids]
    killed = {(number, i) for wanted in web.asked[:2] for number in sorted(wanted)[3:] for i in wanted[number]}
    repeated = {pair for pair in asked if asked.count(pair) > 1}
    assert repeated <= killed
    assert max(web.visits.values()) == 3 and set(web.visits) == {row for row in range(75) if row % 3 != 2}


def test_a_deleted_shard_is_downloaded_again_by_its_part(monkeypatch, tmp_path, urls):
    web, folder = Web(monkeypatch), tmp_path / "train"
    in_parts(urls, folder, 2, retries=0)
    (folder / "00003.tar").unlink()
    web.asked.clear()
    download(corpus(0), "train", urls, folder, parts=2)
    assert [[*wanted] for wanted in web.asked] == [[3]]  # without a further pass over the failures
    (folder / "00003.tar").unlink()
    web.asked.clear()
    in_parts(urls, folder, 2, retries=0)
    assert 3 in web.asked[1] and all(number == 3 or number > division.FURTHER for w in web.asked for number in w)


def test_parts_exclude_each_other_only_where_they_overlap(monkeypatch, tmp_path, urls):
    """Another process, which holds shards 0 to 5, meets jobs with other parts, with the same, and with another list."""
    web, folder = Web(monkeypatch), tmp_path / "train"

    def child(work) -> str:
        """What another process that calls `work` is told."""
        receiving, sending = os.pipe()
        if (process := os.fork()) == 0:
            try:
                work()
                os.write(sending, b"done")
            except AmorlipError as error:
                os.write(sending, str(error).encode())
            finally:
                os._exit(0)
        os.close(sending)
        os.waitpid(process, 0)
        with os.fdopen(receiving) as file:
            return file.read()

    def meet(lists, output, *_) -> None:
        monkeypatch.setattr(img2dataset_call, "run", web.run)
        told["other"] = child(lambda: download_part(corpus(), "train", urls, folder, 2, 2))
        told["same"] = child(lambda: download_part(corpus(), "train", urls, folder, 1, 2))
        told["overlapping"] = child(lambda: download_part(corpus(), "train", urls, folder, 2, 3))
        told["whole"] = child(lambda: download(corpus(), "train", urls, folder))
        told["another list"] = child(lambda: download_part(corpus(), "validation", urls, folder, 2, 2))
        web.run(lists, output)

    told: dict[str, str] = {}
    monkeypatch.setattr(img2dataset_call, "run", meet)
    download_part(corpus(), "train", urls, folder, 1, 2)
    assert told.pop("other") == "done"
    assert {message.split(": ", 1)[1][:47] for message in told.values()} == {
        "another process is writing to this folder; wait"
    }
    assert not (folder / "set-aside-1").exists()
    download(corpus(), "train", urls, folder, parts=2)
    assert record_of(folder)["downloaded"] == 39


def test_a_division_that_was_begun_or_finished_stays(tmp_path):
    assert division.parts_in(tmp_path, 3) == 3
    division.PartRecord(part=2, parts=8, shards=1).write(tmp_path / "parts" / "2-of-8.json")
    assert division.parts_in(tmp_path, 3) == 8
    (tmp_path / "download.json").write_text(json.dumps({"shards": []}))  # from before there were parts
    assert division.parts_in(tmp_path, 3) == 1
    (tmp_path / "download.json").write_text(json.dumps({"shards": [], "parts": 5}))
    assert division.parts_in(tmp_path, 3) == 5


def test_a_part_that_is_none_is_refused(tmp_path, urls):
    with pytest.raises(AmorlipError, match="part 4 of 3"):
        download_part(corpus(), "train", urls, tmp_path / "train", 4, 3)


def test_more_shards_than_numbers_are_refused(monkeypatch, tmp_path, urls):
    monkeypatch.setattr("amorlip.corpus.addresses.FURTHER", 12)
    with pytest.raises(AmorlipError, match="13 shards of 4 pairs are more than 12; increase"):
        download(corpus(), "train", urls, tmp_path / "train")


def test_the_folder_that_snakemake_makes_for_a_part_is_no_users(tmp_path):
    (tmp_path / "parts").mkdir()
    leftovers.require_ours(tmp_path)
    (tmp_path / "parts/mine.json").touch()
    with pytest.raises(AmorlipError, match=r"no download of ours wrote \(parts\)"):
        leftovers.require_ours(tmp_path)
