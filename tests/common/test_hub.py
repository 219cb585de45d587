"""Downloads from a hub are whole, verified and continued."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from amorlip.common import files
from amorlip.common import hub as module
from amorlip.common.errors import AmorlipError
from tests.helpers.hub import COMMIT, Hub

NAME = "owner/wds_things_test"
LARGE = random.Random(0).randbytes(300_000)
FILES = {
    ".gitattributes": b"*.tar lfs\n",
    "README.md": b"# things\n",
    "classnames.txt": "größe\ncat\n".encode(),
    "zeroshot_classification_templates.txt": b"a {c}\n",
    "test/nshards.txt": b"2",
    "test/0.tar": LARGE,
    "test/1.tar": LARGE[::-1],
    "train/0.tar": b"not wanted",
}
WANTED = sorted(FILES.keys() - {".gitattributes", "README.md", "train/0.tar"})


@pytest.fixture
def hub(monkeypatch):
    made = Hub()
    made.repositories[NAME] = dict(FILES)
    # The client reads HF_ENDPOINT once, when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.url)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield made
    made.close()


def stored(data: bytes) -> str:
    """Path of a large file on the storage server."""
    return "/" + hashlib.sha256(data).hexdigest()


def resolved(path: str) -> str:
    return f"/datasets/{NAME}/resolve/{COMMIT}/{path}"


def get(folder, revision="main"):
    return module.download(NAME, revision, folder, module.EVALUATION_SET)


def found(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(folder, *words, **keys):
    with pytest.raises(AmorlipError) as caught:
        get(folder, **keys)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_the_wanted_files_and_the_commit(hub, tmp_path, capsys):
    assert get(tmp_path) == COMMIT
    assert found(tmp_path) == WANTED
    assert all((tmp_path / name).read_bytes() == FILES[name] for name in WANTED)
    assert f"{NAME}: 5/5 files, 0.6/0.6 MiB" in capsys.readouterr().out


def test_patterns_and_others(hub, tmp_path):
    module.download(NAME, "main", tmp_path, ["*.tar"], ["test/1.*"])
    assert found(tmp_path) == ["test/0.tar", "train/0.tar"]


def test_names_without_a_download(hub, tmp_path):
    assert module.file_names(NAME, "main", ["*.tar"], ["test/1.*"]) == ["test/0.tar", "train/0.tar"]
    assert not hub.visits() and found(tmp_path) == []


def test_files_that_were_set_aside_are_used_again_if_they_match(hub, tmp_path):
    module.download(NAME, "main", tmp_path, ["test/*.tar"])
    files.set_aside(tmp_path, list((tmp_path / "test").glob("*.tar")), "another revision")
    (tmp_path / "set-aside-1/test/1.tar").write_bytes(LARGE[::-1][:-1] + b"?")
    before = hub.visits()
    module.download(NAME, "main", tmp_path, ["test/*.tar"])
    assert (tmp_path / "test/0.tar").read_bytes() == LARGE and (tmp_path / "test/1.tar").read_bytes() == LARGE[::-1]
    assert set(hub.visits() - before) == {resolved("test/1.tar"), stored(LARGE[::-1])}
    assert found(tmp_path) == ["set-aside-1/test/1.tar", "test/0.tar", "test/1.tar"]


def test_everything_without_patterns(hub, tmp_path):
    module.download(NAME, "main", tmp_path)
    assert found(tmp_path) == sorted(FILES)


def test_a_second_call_fetches_nothing(hub, tmp_path):
    get(tmp_path)
    before = hub.visits()
    get(tmp_path)
    assert hub.visits() == before


def test_changed_and_deleted_files_are_fetched_again(hub, tmp_path):
    get(tmp_path)
    (tmp_path / "test/0.tar").write_bytes(LARGE[:-1] + b"?")
    (tmp_path / "classnames.txt").unlink()
    get(tmp_path)
    assert all((tmp_path / name).read_bytes() == FILES[name] for name in WANTED)
    assert hub.visits()[stored(LARGE)] == 2 and hub.visits()[stored(LARGE[::-1])] == 1


def test_a_cut_connection_is_continued_within_a_call(hub, tmp_path):
    hub.faults[stored(LARGE)] = [("cut", 100_000), ("cut", 50_000)]
    get(tmp_path)
    assert (tmp_path / "test/0.tar").read_bytes() == LARGE
    assert hub.ranges(stored(LARGE)) == [None, "bytes=100000-", "bytes=150000-"]


def test_an_unfinished_file_is_continued_by_the_next_call(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITS_S", ())
    hub.faults[stored(LARGE)] = [("cut", 120_000), 500]
    refused(tmp_path, NAME, "cannot be downloaded", "run again")
    assert not (tmp_path / "test/0.tar").exists()
    get(tmp_path)
    assert (tmp_path / "test/0.tar").read_bytes() == LARGE
    assert hub.ranges(stored(LARGE)) == [None, "bytes=120000-", "bytes=120000-"]
    assert found(tmp_path) == WANTED


def test_the_beginning_of_another_content_is_not_continued(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITS_S", ())
    hub.faults[stored(LARGE)] = [("cut", 120_000), 500]
    refused(tmp_path, "cannot be downloaded")
    other = bytes(200_000)
    hub.repositories[NAME]["test/0.tar"] = other
    get(tmp_path)
    assert (tmp_path / "test/0.tar").read_bytes() == other
    assert hub.ranges(stored(other)) == [None]


@pytest.mark.parametrize("name", ["test/0.tar", "classnames.txt"])
def test_a_wrong_digest_is_refused_and_deleted(hub, tmp_path, name):
    data = FILES[name]
    path = stored(data) if name.endswith("tar") else resolved(name)
    hub.faults[path] = [("send", bytes(len(data)))]
    refused(tmp_path, str(tmp_path / name), "does not match the checksum", "run again")
    assert not any(name.split("/")[-1] in other for other in found(tmp_path))
    get(tmp_path)
    assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "path", [f"/api/datasets/{NAME}/revision/main", f"/api/datasets/{NAME}/tree/{COMMIT}", resolved("test/nshards.txt")]
)
def test_a_busy_hub_is_asked_again(hub, tmp_path, status, path):
    hub.faults[path] = [status]
    get(tmp_path)
    assert found(tmp_path) == WANTED


def test_a_hub_that_stays_broken(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITS_S", (0, 0))
    hub.faults[resolved("classnames.txt")] = [500] * 3
    refused(tmp_path, NAME, "500", "run again")
    assert hub.visits()[resolved("classnames.txt")] == 3


def test_no_hub_at_all(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITS_S", (0,))
    hub.close()
    refused(tmp_path, NAME, "cannot be downloaded")


def test_a_gated_set(hub, tmp_path, monkeypatch):
    hub.gated.add(NAME)
    refused(tmp_path, NAME, "gated", "HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "secret")
    get(tmp_path)
    assert found(tmp_path) == WANTED
    sent = [headers for _, path, headers in hub.requests if path == stored(LARGE)]
    assert sent and all("authorization" not in headers for headers in sent), "the token went to the storage server"


def test_names_that_are_not_there(hub, tmp_path):
    refused(tmp_path, NAME, "has no revision 'v9'", revision="v9")
    del hub.repositories[NAME]
    refused(tmp_path, NAME, "does not exist, or is private")
    with pytest.raises(AmorlipError, match="not a name of the form"):
        module.download("a/b/c", "main", tmp_path)


def test_nothing_that_matches(hub, tmp_path):
    hub.repositories[NAME] = {"README.md": b""}
    refused(tmp_path, NAME, "no file that matches")


def test_a_path_that_climbs_out(hub, tmp_path):
    hub.repositories[NAME]["test/../../escaped.tar"] = b"x"
    refused(tmp_path / "in", "leaves its folder", "escaped.tar")
    assert found(tmp_path) == []


TREE = f"/api/datasets/{NAME}/tree/{COMMIT}"


@pytest.mark.parametrize("name", ["test/0.tar", "classnames.txt"])
def test_a_body_longer_than_listed_is_not_written(hub, tmp_path, name):
    data = FILES[name]
    hub.faults[stored(data) if name.endswith("tar") else resolved(name)] = [("send", data + bytes(5_000_000))]
    refused(tmp_path, str(tmp_path / name), f"sends more than the {len(data)} bytes")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 700_000
    get(tmp_path)
    assert (tmp_path / name).read_bytes() == data


def listed(**changes) -> bytes:
    entry = {"type": "file", "path": "test/9.tar", "size": 4, "oid": "a" * 40, "lfs": None}
    return json.dumps([{key: value for key, value in {**entry, **changes}.items() if value is not None}]).encode()


LFS = {"oid": "a" * 64, "size": 4, "pointerSize": 1}


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (listed(path="test/a\0.tar"), "is no path: test/a\\x00.tar"),
        (listed(path="test/\x1b[31m.tar"), "is no path: test/\\x1b[31m.tar"),
        (listed(path="/etc/x.tar"), "leaves its folder"),
        (listed(path="test//x.tar"), "leaves its folder"),
        (listed(path="a" * 300 + ".tar"), "leaves its folder"),
        (listed(path="test/0.tar"), "a path twice"),
        (listed(oid="../" * 13 + "a"), "a size or checksum that is none"),
        (listed(oid="A" * 40), "a size or checksum that is none"),
        (listed(lfs={**LFS, "oid": "a/" * 32}), "a size or checksum that is none"),
        (listed(size=-1), "a size or checksum that is none"),
        (listed(size="4"), "a size or checksum that is none"),
        (listed(path=5), "leaves its folder"),
        (b"[5]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"<html>", "cannot be read"),
    ],
)
def test_a_listing_of_what_are_no_files_is_refused(hub, tmp_path, page, words):
    hub.faults[TREE] = [("send", page)]
    refused(tmp_path / "in", NAME, words)
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MOST_FILES", 5, "more than 5 files"),
        ("MOST_ANSWERS", 3, "too long"),
        ("MOST_PAGE_BYTES", {False: 300, True: 300}, "too long"),
        ("TIMEOUT_S", -1, "too long"),
    ],
)
def test_a_listing_without_end_is_refused(hub, tmp_path, monkeypatch, name, value, words):
    monkeypatch.setattr(f"amorlip.common.hub_listing.{name}", value)
    refused(tmp_path, NAME, words)
    assert not hub.visits()


def test_a_repository_that_would_fill_the_disk_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=1 << 40, free=(1 << 30) + 400_000))
    refused(tmp_path, NAME, "does not fit on the disk", "needs 0.6 MiB")
    assert not hub.visits()


def test_the_endpoint_of_the_environment(hub, tmp_path):
    code = f"from amorlip.common import hub; from pathlib import Path; print(hub.download({NAME!r}, 'main', Path('x')))"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == COMMIT
    assert found(tmp_path / "x") == sorted(FILES)


@pytest.mark.parametrize("name", ["test/0.tar", "classnames.txt"])
def test_the_stand_in_satisfies_the_hubs_own_client(hub, tmp_path, name, monkeypatch):
    from huggingface_hub import hf_hub_download

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    hf_hub_download(NAME, name, repo_type="dataset", local_dir=tmp_path)
    assert (tmp_path / name).read_bytes() == FILES[name]
    assert hub.visits("HEAD")
