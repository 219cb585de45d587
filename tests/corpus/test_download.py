"""Downloads from loopback servers, with img2dataset itself."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from amorlip.common.errors import AmorlipError
from amorlip.config.corpus import UrlSource
from amorlip.corpus import division, outcomes
from amorlip.corpus import download as stage
from amorlip.corpus.download import download, download_part
from amorlip.corpus.manifest import build_manifest
from amorlip.corpus.reasons import plain_reason
from amorlip.corpus.urls import write_table
from tests.helpers.miniatures import any_corpus, mini_source, picture

PAGES = {
    "good": 12, "gone": 2, "html": 1, "tiny": 1, "flaky": 3, "slow": 1, "robots": 1,
}  # fmt: skip


def fill(server) -> list[str]:
    """Addresses of every kind: `flaky` answers from the second visit on, `slow` too late at the first."""

    def late(visit: int) -> tuple[int, bytes]:
        time.sleep(2.5 if visit == 1 else 0)
        return 200, picture(1, ending="jpg")

    pages = {
        "good": picture(0, side=24),
        "html": b"<html>sold</html>",
        "tiny": picture(0, side=4),
        "robots": picture(0),
        "flaky": lambda visit: (503, b"") if visit == 1 else (200, picture(2, ending="webp")),
        "slow": late,
    }
    paths = [f"/{kind}/{number}" for kind, count in PAGES.items() for number in range(count)]
    for path in paths:
        if (kind := path.split("/")[1]) in pages:
            server.pages[path] = pages[kind]
    server.headers["/robots/0"] = {"X-Robots-Tag": "noai"}
    return paths


def corpus(retries: int, **image):
    storage = {"image_size": 16, "encode_format": "png", "encode_quality": 6, "min_image_size": 8, **image}
    speed = {"processes": 1, "threads": 4, "timeout_s": 1, "retries": retries}
    return any_corpus(image=storage, download=speed, samples_per_shard=8)


@pytest.fixture(scope="module")
def downloaded(server, tmp_path_factory):
    """One pass; a killed run's leftovers; then a second call with nothing but the failures to ask for."""
    folder = tmp_path_factory.mktemp("download")
    paths = fill(server)
    count = len(paths) + 1
    urls = pa.array([server.url + path for path in paths] + [server.url + "/good/of-validation"])
    write_table(
        urls, pa.array([f"caption {i}" for i in range(count)]), pa.array(["train"] * len(paths) + ["validation"]),
        folder / "urls.parquet",
    )  # fmt: skip
    result = {"paths": paths, "folder": folder / "train", "urls": folder / "urls.parquet", "server": server}
    for call in ("first", "second"):
        before = server.visits.copy()
        download(corpus(retries=0), "train", folder / "urls.parquet", folder / "train")
        result[call] = json.loads((folder / "train" / "download.json").read_text())
        result[f"{call} visits"] = server.visits - before
        # What a killed run would leave: a shard that was begun, a staging folder without a finished shard.
        (folder / "train" / "00077.tar").write_bytes(b"begun")
        (folder / "train" / ".staging-x" / "shards").mkdir(parents=True)
        (folder / "train" / ".staging-x" / "shards" / "00000.tar").write_bytes(b"begun")
    return result


@pytest.mark.slow
def test_failures_are_counted_by_reason(downloaded):
    first = downloaded["first"]
    assert (first["requested"], first["downloaded"]) == (21, 12)
    assert first["failed"] == {
        "HTTP Error 503: Service Unavailable": 3, "HTTP Error 404: Not Found": 2, "image cannot be decoded": 1,
        "image too small": 1, "timed out": 1, "Use of image disallowed by X-Robots-Tag directive": 1,
    }  # fmt: skip
    assert downloaded["first visits"].total() == 21  # and nothing of the other split


@pytest.mark.slow
def test_only_what_may_still_come_is_asked_for_again(downloaded):
    asked = {path.split("/")[1] for path in downloaded["second visits"]}
    assert asked == {"html", "flaky", "slow"}
    assert downloaded["second"]["downloaded"] == 16 and downloaded["second"]["requested"] == 21
    assert set(downloaded["second"]["failed"].values()) == {2, 1} and len(downloaded["second"]["failed"]) == 4


@pytest.mark.slow
def test_shards_hold_each_pair_once_and_leftovers_are_gone(downloaded):
    folder = downloaded["folder"]
    build_manifest("test", corpus(0), "train", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["samples"] == 16 and manifest["refused"] == {} and manifest["requested"] == 21
    names = ["00000.tar", "00001.tar", "00002.tar", "1000001.tar", "1000002.tar"]
    assert [shard["name"] for shard in manifest["shards"]] == names
    ids = pq.read_table(folder / "index.parquet")["sample_id"].to_pylist()
    kinds = {downloaded["paths"][number].split("/")[1] for number in ids}
    assert len(set(ids)) == 16 and kinds == {"good", "flaky", "slow"}
    text = pq.read_table(folder / "index.parquet").to_pylist()[0]
    data = (folder / manifest["shards"][text["shard"]]["name"]).read_bytes()
    assert data[text["caption_offset"] :][: text["caption_bytes"]] == f"caption {text['sample_id']}".encode()


@pytest.mark.slow
def test_no_process_is_left(downloaded):
    assert not multiprocessing.active_children()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_stopping_leaves_nothing_half_done(server, tmp_path):
    """SIGTERM in the middle of a pass: an interrupt, no processes, and a folder that the next call can use."""
    server.pages["/never"] = lambda _: (time.sleep(3), (200, b""))[1]
    write_table(pa.array([server.url + "/never"]), pa.array(["a"]), pa.array(["train"]), tmp_path / "urls.parquet")

    def stop_when_asked() -> None:
        while not server.visits["/never"]:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_asked, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        download(corpus(0), "train", tmp_path / "urls.parquet", tmp_path / "train")
    assert not multiprocessing.active_children()
    assert not (tmp_path / "train" / "download.json").exists()
    outcomes.collect(tmp_path / "train")
    assert [path.name for path in (tmp_path / "train").iterdir() if path.name != ".lock"] == [".source"]


@pytest.mark.slow
def test_a_list_of_the_internet_leads_neither_to_files_nor_to_private_servers(server, tmp_path):
    (tmp_path / "private.png").write_bytes(picture(0))
    server.pages["/internal.png"] = picture(0)
    urls = [(tmp_path / "private.png").as_uri(), f"{server.url}/internal.png"]
    write_table(pa.array(urls), pa.array(["a", "b"]), pa.array(["train"] * 2), tmp_path / "urls.parquet")
    lists = {"train": {"url": "http://x.org/list.tsv", "columns": ["url", "caption"]}}
    download(corpus(0).model_copy(update={"urls": UrlSource.model_validate(lists)}), "train", tmp_path / "urls.parquet",
             tmp_path / "train")  # fmt: skip
    record = json.loads((tmp_path / "train" / "download.json").read_text())
    assert record["failed"] == {"address cannot be used": 1, "private address (see allow_private_addresses)": 1}
    assert not server.visits["/internal.png"]


def test_only_lists_of_this_machine_and_the_demo_name_files():
    def lists(train: str, validation: str | None = None):
        given = {"train": train, **({"validation": validation} if validation else {})}
        keys = {split: {"url": url, "columns": ["url", "caption"]} for split, url in given.items()}
        return any_corpus(urls=keys)

    assert lists(" FILE:///a.tsv").names_files("train") and lists("file:///a.tsv").names_files("validation")
    mixed = lists("file:///a.tsv", "https://x.org/b.tsv")
    assert mixed.names_files("train") and not mixed.names_files("validation")
    assert not lists("https://x.org/a.tsv").allows_private_addresses
    assert any_corpus(source="emoji", emoji=mini_source()).names_files("train")


# ---------------------------------------------------------------- without img2dataset


def shard(folder: Path, number: int, outcomes: dict[int, str | None], finished: bool = True) -> None:
    """What img2dataset writes for a shard: its tar, table of outcomes and statistics."""
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "sample_id": list(outcomes),
        "status": ["success" if reason is None else "failed_to_download" for reason in outcomes.values()],
        "error_message": pa.array(outcomes.values(), pa.string()),
    }
    (folder / f"{number:05d}.tar").write_bytes(f"{number} {sorted(outcomes)}".encode())
    pq.write_table(pa.table(table), folder / f"{number:05d}.parquet")
    if finished:
        (folder / f"{number:05d}_stats.json").write_text("{}")


class Listed:
    """Stands in for a list of `count` addresses with the ids 0, 1, …"""

    def __init__(self, count: int) -> None:
        self.ids = np.arange(count)


def known(folder: Path, own: range = division.EVERY_SHARD) -> list[int]:
    """For ten ids: NOT_TRIED, DOWNLOADED or the number of a message."""
    found = outcomes.Outcomes(Listed(10), folder, own)
    found.update()
    return found.codes.tolist()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def test_finished_shards_of_a_killed_run_are_kept(tmp_path):
    shard(tmp_path / ".staging-0-5-a" / "shards", 0, {1: None, 2: "timed out"})
    shard(tmp_path / ".staging-0-5-a" / "shards", 1, {3: None}, finished=False)
    shard(tmp_path / ".staging-0-5-b" / "shards", 4, {5: None})
    outcomes.collect(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00000.parquet",
        "00000.tar",
        "00004.parquet",
        "00004.tar",
    ]
    assert [(tmp_path / f"0000{i}.tar").read_text() for i in (0, 4)] == ["0 [1, 2]", "4 [5]"]
    assert known(tmp_path) == [-2, -1, 0, -2, -2, -1, -2, -2, -2, -2]


def test_being_killed_while_collecting(tmp_path):
    shard(tmp_path / ".staging-0-5-a" / "shards", 0, {1: None})
    shard(tmp_path / ".staging-0-5-a" / "shards", 1, {2: None})
    # The tar was moved, its table was not.
    (tmp_path / ".staging-0-5-a" / "shards" / "00000.tar").replace(tmp_path / "00000.tar")
    outcomes.collect(tmp_path)
    assert known(tmp_path) == [-2, -2, -1, *[-2] * 7]  # 1 is asked for again
    assert [path.read_text() for path in tmp_path.glob("*.tar")] == ["1 [2]"]


def test_a_part_touches_only_its_own_shards(tmp_path):
    """Other jobs may be moving theirs into place; what another division of the list left is used, and kept."""
    shard(tmp_path / ".staging-0-5-a" / "shards", 0, {1: None})
    shard(tmp_path / ".staging-0-5-a" / "shards", 3, {2: None})
    shard(tmp_path / ".staging-3-5-b" / "shards", 1_000_004, {3: None})
    shard(tmp_path, 2, {4: None})
    shard(tmp_path, 4, {5: None})
    for path in ("00001.tar", "00003.tar", "00004.tar"):  # incomplete: without a table, or (4) deleted
        (tmp_path / path).unlink() if path == "00004.tar" else (tmp_path / path).write_bytes(b"moving")
    outcomes.collect(tmp_path, range(3, 5))
    assert files(tmp_path) == [
        "00000_stats.json", "00001.tar", "00002.parquet", "00002.tar", "00002_stats.json", "00003.parquet",
        "00003.tar", "00004_stats.json", "1000004.parquet", "1000004.tar",
    ][1:]  # fmt: skip
    assert [path.name for path in tmp_path.glob(".staging*")] == [".staging-0-5-a"]
    assert known(tmp_path, range(3, 5)) == [-2, -2, -1, -1, *[-2] * 6]
    outcomes.collect(tmp_path)
    assert (tmp_path / "00000.tar").read_text() == "0 [1]" and not [*tmp_path.glob(".staging*")]


def run_without_network(monkeypatch, tmp_path, corpus, answers):
    """The stage with a stand-in for img2dataset that settles the ids in `answers`; returns the ids asked for."""
    asked = []

    def run(lists, output, *_):
        ids = {int(path.stem): feather.read_table(path)["sample_id"].to_pylist() for path in lists.iterdir()}
        asked.append(sorted(itertools.chain(*ids.values())))
        for number, wanted in ids.items():
            shard(output, number, {i: answers(i, len(asked)) for i in wanted})

    monkeypatch.setattr(stage.img2dataset_call, "run", run)
    if not (tmp_path / "urls.parquet").exists():
        write_table(pa.array(list("abcd")), pa.array(list("wxyz")), pa.array(["train"] * 4), tmp_path / "urls.parquet")
    download(corpus, "train", tmp_path / "urls.parquet", tmp_path / "train")
    return asked


def test_passes(monkeypatch, tmp_path):
    answers = {0: None, 1: "HTTP Error 404: Not Found", 2: "timed out", 3: "timed out"}
    asked = run_without_network(
        monkeypatch, tmp_path, corpus(retries=3), lambda i, visit: None if i == 2 and visit == 2 else answers[i]
    )
    assert asked == [[0, 1, 2, 3], [2, 3], [3], [3]]
    record = json.loads((tmp_path / "train" / "download.json").read_text())
    assert record["downloaded"] == 2 and record["failed"] == {"HTTP Error 404: Not Found": 1, "timed out": 1}


def test_nothing_is_asked_when_all_is_there(monkeypatch, tmp_path):
    assert run_without_network(monkeypatch, tmp_path, corpus(retries=5), lambda *_: None) == [[0, 1, 2, 3]]
    assert run_without_network(monkeypatch, tmp_path, corpus(retries=5), lambda *_: None) == []


def test_a_second_download_into_one_folder_is_refused(monkeypatch, tmp_path):
    """The first one is at work in another process; nothing of it is touched."""
    first = os.getpid()

    def work(*_):
        assert os.getpid() == first
        child = os.fork()
        if child == 0:
            try:
                with pytest.raises(AmorlipError, match="train: another process is writing to this folder"):
                    download(corpus(0), "train", tmp_path / "urls.parquet", tmp_path / "train")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0

    assert run_without_network(monkeypatch, tmp_path, corpus(0), work) == [[0, 1, 2, 3]]
    assert json.loads((tmp_path / "train" / "download.json").read_text())["downloaded"] == 4


def test_another_list_or_image_size_starts_afresh(monkeypatch, tmp_path):
    def answers(*_):
        return None

    run_without_network(monkeypatch, tmp_path, corpus(0), answers)
    assert run_without_network(monkeypatch, tmp_path, corpus(0, image_size=32), answers) == [[0, 1, 2, 3]]
    dropped = corpus(0, image_size=32).model_copy(update={"transparency": "drop"})
    assert run_without_network(monkeypatch, tmp_path, dropped, answers) == [[0, 1, 2, 3]]
    write_table(pa.array(["e"]), pa.array(["f"]), pa.array(["train"]), tmp_path / "urls.parquet")
    assert run_without_network(monkeypatch, tmp_path, corpus(0, image_size=32), answers) == [[0]]
    assert json.loads((tmp_path / "train" / "download.json").read_text())["requested"] == 1


def test_reasons_are_a_fixed_list_with_an_example_each(monkeypatch, tmp_path, capsys):
    write_table(
        pa.array([f"http://x/{i}" for i in range(100)]), pa.array(["c"] * 100), pa.array(["train"] * 100),
        tmp_path / "urls.parquet",
    )  # fmt: skip
    messages = [f"reason {i}" if i < 30 else f"<urlopen error [Errno -2] Name {i} not known>" for i in range(100)]
    messages[30:] = [f"getaddrinfo failed for host{i}" for i in range(30, 100)]
    one_shard = corpus(0).model_copy(update={"samples_per_shard": 100})
    run_without_network(monkeypatch, tmp_path, one_shard, lambda i, _: messages[i])
    record = json.loads((tmp_path / "train" / "download.json").read_text())
    assert record["failed"] == {"host name cannot be resolved": 70, "other": 30}
    assert record["examples"] == {
        "other": "http://x/0: reason 0", "host name cannot be resolved": "http://x/30: getaddrinfo failed for host30",
    }  # fmt: skip
    assert "30 failed: other; for example http://x/0: reason 0" in capsys.readouterr().out


def test_a_deleted_shard_is_downloaded_again(monkeypatch, tmp_path, capsys):
    """As the messages about damaged shards advise; of its table of outcomes likewise."""
    everything = [[0, 1, 2, 3]]
    assert run_without_network(monkeypatch, tmp_path, corpus(0), lambda *_: None) == everything
    for ending in ("tar", "parquet"):
        (tmp_path / "train" / f"00000.{ending}").unlink()
        assert run_without_network(monkeypatch, tmp_path, corpus(0), lambda *_: None) == everything
        record = json.loads((tmp_path / "train" / "download.json").read_text())
        assert record["downloaded"] == 4 and record["shards"] == ["00000.tar"]
    assert "00000.tar is missing; its pairs are downloaded again" in capsys.readouterr().out


def test_shards_that_could_not_be_written_stop_the_stage(monkeypatch, tmp_path):
    """img2dataset only prints what went wrong. The shard that was finished counts in the next call."""
    asked = []

    def run(lists, output, *_):
        asked.append([feather.read_table(path)["sample_id"].to_pylist() for path in sorted(lists.iterdir())])
        shard(output, int(min(lists.iterdir()).stem), dict.fromkeys(asked[-1][0]))

    monkeypatch.setattr(stage.img2dataset_call, "run", run)
    write_table(pa.array(["u"] * 12), pa.array(["c"] * 12), pa.array(["train"] * 12), tmp_path / "urls.parquet")
    with pytest.raises(AmorlipError, match=r"1 of 2 shards could not be written .* MiB free"):
        download(corpus(0), "train", tmp_path / "urls.parquet", tmp_path / "train")
    assert not (tmp_path / "train" / "download.json").exists()
    download(corpus(0), "train", tmp_path / "urls.parquet", tmp_path / "train")
    assert asked == [[list(range(8)), [8, 9, 10, 11]], [[8, 9, 10, 11]]]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("<urlopen error [Errno -2] Name or service not known>", "host name cannot be resolved"),
        ("HTTP Error 404: Not Found", "HTTP Error 404: Not Found"),
        ("<urlopen error [Errno 2] No such file or directory: '/a/b.png'>", "no such file"),
        (
            "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, x.org>",
            "certificate cannot be verified",
        ),
        ("HTTP Error 302: this would lead to\nan infinite loop", "HTTP Error 302: Found"),
        ("(-215:Assertion failed) pixels <= CV_IO_MAX_IMAGE_PIXELS in function 'x'", "image has too many pixels"),
        ("HTTP Error 999: Request denied", "HTTP Error 999"),
        ("The read operation timed out", "timed out"),
        ("[Errno 104] Connection reset by peer", "connection broke off"),
        ("unknown url type: 'ttp'", "address cannot be used"),
        (
            "'ascii' codec can't encode character '\\xe9' in position 9",
            "address cannot be used",
        ),
        ("", "other"),
        ("something new", "other"),
    ],
)
def test_reasons_without_what_differs(message, reason):
    assert plain_reason(message) == reason


# ---------------------------------------------------------------- mirrors and leftovers


class Mirror:
    """A stand-in for the hub: revision → files. Files that are there with the right content are kept."""

    def __init__(self, monkeypatch, **revisions: dict[str, bytes]) -> None:
        self.revisions, self.sent = revisions, []
        monkeypatch.setattr(stage.hub, "download", self.download)
        monkeypatch.setattr(stage.hub, "file_names", self.file_names)

    def file_names(self, repository, revision, patterns, others):
        assert repository == "owner/name"
        names = self.revisions[revision.removeprefix("commit of ")]
        return [name for name in names if fnmatch(name, patterns[0]) and not any(fnmatch(name, o) for o in others)]

    def download(self, repository, revision, folder, patterns, others):
        for name in self.file_names(repository, revision, patterns, others):
            path, data = folder / name, self.revisions[revision][name]
            if not path.is_file() or path.read_bytes() != data:
                self.sent.append(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return f"commit of {revision}"


def mirrored(revision: str = "main", train: str = "train-*.tar", **changes):
    mirror = {"repository": "owner/name", "revision": revision, "train": train, "validation": "train-2.tar"}
    return any_corpus(source="mirror", mirror=mirror, **changes)


def record_of(folder: Path) -> dict:
    return json.loads((folder / "download.json").read_text())


def aside(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("set-aside-*/**/*.tar")}


def test_a_mirror_lends_training_shards_to_validation(monkeypatch, tmp_path):
    Mirror(monkeypatch, main=dict.fromkeys(("train-0.tar", "train-1.tar", "train-2.tar", "README.md"), b""))
    for split, shards in (("train", ["train-0.tar", "train-1.tar"]), ("validation", ["train-2.tar"])):
        download(mirrored(), split, None, tmp_path / split)
        record = record_of(tmp_path / split)
        assert record["shards"] == shards and record["revision"] == "commit of main" and record["requested"] is None


@pytest.mark.parametrize("moved", [True, False], ids=["branch that moved", "another revision"])
def test_a_mirrors_new_revision_with_fewer_shards(monkeypatch, tmp_path, capsys, moved):
    old = {f"train-{n}.tar": b"old %d" % n for n in (0, 1, 3)}
    new = {"train-0.tar": b"old 0", "train-1.tar": b"new 1"}
    mirror = Mirror(monkeypatch, main=old, later=new)
    download(mirrored(), "train", None, tmp_path)
    if moved:
        mirror.revisions["main"] = new
    download(mirrored("main" if moved else "later"), "train", None, tmp_path)
    assert record_of(tmp_path)["shards"] == ["train-0.tar", "train-1.tar"]
    assert [(tmp_path / name).read_bytes() for name in new] == list(new.values())
    assert aside(tmp_path)["set-aside-1/train-3.tar"] == b"old 3"
    assert f"files moved to {tmp_path / 'set-aside-1'}" in capsys.readouterr().out
    download(mirrored("main" if moved else "later"), "train", None, tmp_path)
    assert record_of(tmp_path)["shards"] == ["train-0.tar", "train-1.tar"] and not (tmp_path / "set-aside-2").exists()


STRANGERS = {"train-0.tar": b"0", "train-7.tar": b"7", "mine.tar": b"mine", "00000.parquet": b"mine", ".x.part": b"x"}


def write_all(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)


def test_shards_without_a_note_of_their_source_are_compared_with_the_mirror(monkeypatch, tmp_path):
    """Folders from before the note was written: nothing is downloaded twice."""
    mirror = Mirror(monkeypatch, main={"train-0.tar": b"0", "train-1.tar": b"1"})
    download(mirrored(), "train", None, tmp_path)
    (tmp_path / ".source").unlink()
    (tmp_path / "train-1.tar").unlink()
    write_all(tmp_path, {"train-7.tar": b"7"})
    mirror.sent.clear()
    download(mirrored(), "train", None, tmp_path)
    assert mirror.sent == ["train-1.tar"] and record_of(tmp_path)["shards"] == ["train-0.tar", "train-1.tar"]
    assert aside(tmp_path) == {"set-aside-1/train-7.tar": b"7"}


@pytest.mark.parametrize("source", ["mirror", "list", "part of a list"])
def test_a_folder_with_files_of_a_user_is_left_as_it_is(monkeypatch, tmp_path, source):
    folder = tmp_path / "train"
    write_all(folder, STRANGERS)
    Mirror(monkeypatch, main={"train-0.tar": b"0", "train-1.tar": b"1"})
    with pytest.raises(AmorlipError, match=r"train has files that no download of ours wrote \(00000.parquet, mine.tar"):
        if source == "mirror":
            download(mirrored(), "train", None, folder)
        elif source == "list":
            run_without_network(monkeypatch, tmp_path, corpus(0), lambda *_: None)
        else:
            write_table(urls := pa.chunked_array([["http://x"]]), urls, pa.array(["train"]), tmp_path / "urls.parquet")
            download_part(corpus(0), "train", tmp_path / "urls.parquet", folder, 1, 2)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == STRANGERS


def test_sources_in_turn_are_never_mixed(monkeypatch, tmp_path):
    """Addresses, a mirror with shards of the same names, addresses again: as on the first day each time."""
    folder, mirror = tmp_path / "train", mirrored(train="*.tar")
    Mirror(monkeypatch, main={"00000.tar": b"mirrored", "sub/00001.tar": b"mirrored"})
    for number in range(3):
        assert run_without_network(monkeypatch, tmp_path, corpus(0), lambda *_: None) == [[0, 1, 2, 3]]
        assert record_of(folder)["shards"] == ["00000.tar"] and record_of(folder)["downloaded"] == 4
        assert (folder / "00000.tar").read_bytes() == b"0 [0, 1, 2, 3]"
        assert not list(folder.glob("sub/*"))
        download(mirror, "train", None, folder)
        assert record_of(folder)["shards"] == ["00000.tar", "sub/00001.tar"]
        assert not list(folder.glob("*.parquet"))
        assert len(list(folder.glob("set-aside-*"))) == 2 * number + 1
    assert sorted(aside(folder).values()) == [b"0 [0, 1, 2, 3]"] * 3 + [b"mirrored"] * 4
