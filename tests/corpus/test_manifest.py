from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from amorlip.common import tars
from amorlip.common.errors import AmorlipError
from amorlip.corpus import manifest as manifests
from amorlip.corpus.manifest import INDEX, build_manifest, read_manifest
from amorlip.corpus.records import CHECKED, MANIFEST
from amorlip.corpus.shard_reader import _Refused, _row
from tests.helpers.miniatures import any_corpus, bomb, pair, picture, write_record, write_split, write_tar


def check(folder, shards, *, requested=None, failed=None, **corpus):
    """Write the shards (name → samples), run the stage, and return the manifest and the index's rows."""
    for name, samples in shards.items():
        write_tar(folder / name, samples)
    write_record(folder, list(shards), requested, failed)
    build_manifest("test", any_corpus(**corpus), "train", folder)
    return json.loads((folder / MANIFEST).read_text()), pq.read_table(folder / INDEX).to_pylist()


def test_index_points_at_images_and_captions(tmp_path):
    shards = {"0.tar": [("b", pair(7, "jpg")), ("a", pair(3))], "1.tar": [("sub/c", pair(5, "webp"))]}
    manifest, rows = check(tmp_path, shards, requested=4, failed={"HTTP Error 404": 1})
    assert [(row["sample_id"], row["shard"]) for row in rows] == [(3, 0), (7, 0), (5, 1)]
    for row in rows:
        data = (tmp_path / f"{row['shard']}.tar").read_bytes()
        members = {3: pair(3), 7: pair(7, "jpg"), 5: pair(5, "webp")}[row["sample_id"]]
        image = next(iter(members.values()))
        assert data[row["image_offset"] :][: row["image_bytes"]] == image
        assert data[row["caption_offset"] :][: row["caption_bytes"]] == members["txt"]
    assert {name: manifest[name] for name in ("requested", "downloaded", "failed", "yield", "samples", "refused")} == {
        "requested": 4, "downloaded": 3, "failed": {"HTTP Error 404": 1}, "yield": 0.75, "samples": 3, "refused": {},
    }  # fmt: skip
    assert manifest["max_sample_id"] == 7 and manifest["corpus"] == "test" and manifest["split"] == "train"
    for number, shard in enumerate(manifest["shards"]):
        data = (tmp_path / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert shard["samples"] == [2, 1][number]


def test_digest_follows_contents(tmp_path):
    digests = [
        json.loads((write_split(tmp_path / str(i), ids) / MANIFEST).read_text())["digest"]
        for i, ids in enumerate([[[0, 1], [2]], [[0, 1], [2]], [[0, 1], [3]]])
    ]
    assert digests[0] == digests[1] != digests[2]


def without(sample_id, *endings):
    return {ending: data for ending, data in pair(sample_id).items() if ending not in endings}


def with_other_pixels(png: bytes) -> bytes:
    """Header and end are whole; what lies between is not."""
    return png[:60] + bytes(len(png) - 90) + png[-30:]


def encoded(kind: str) -> bytes:
    """A good picture of another format than those of a corpus."""
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).save(file, kind)
    return file.getvalue()


BROKEN = {
    "no image": without(1, "png"),
    "several images": {**pair(1), "jpg": picture(1, ending="jpg")},
    "no caption": {**pair(1), "txt": b" \n "},
    "caption is not UTF-8": {**pair(1), "txt": b"\xff\xfe"},
    "not an image": {**pair(1), "png": b"<html>404</html>"},
    "image is cut short": {**pair(1), "png": pair(1)["png"][:-40]},
    "image cannot be decoded": {**pair(1), "png": with_other_pixels(pair(1)["png"])},
    "image has too many pixels": {**pair(1), "png": bomb(50_000)},
    "broken json": {**pair(1), "json": b"{"},
    "sample_id is not a natural number": {**pair(1), "json": b'{"sample_id": "x"}'},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_faulty_pair_is_refused_and_counted(tmp_path, reason, capsys):
    samples = [("a", pair(0)), ("b", BROKEN[reason]), ("c", pair(2))]
    manifest, rows = check(tmp_path, {"0.tar": samples}, requested=3)
    assert manifest["refused"] == {reason: 1}
    assert [row["sample_id"] for row in rows] == [0, 2]
    assert manifest["yield"] == pytest.approx(2 / 3)
    assert f"2 of 3 pairs usable (66.7%; {reason}: 1)" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "reason"), [("jpg", "image is cut short"), ("webp", "not an image")])
def test_cut_images_of_every_format(tmp_path, ending, reason):
    members = pair(1, ending)
    manifest, _ = check(tmp_path, {"0.tar": [("a", pair(0)), ("b", {**members, ending: members[ending][:-40]})]})
    assert manifest["refused"] == {reason: 1}


@pytest.mark.parametrize(
    ("member", "data", "reason"),
    [
        ("png", encoded("TIFF"), "not an image"),
        ("png", encoded("EPS"), "not an image"),
        ("jpg", b"", "not an image"),
        ("json", b"[" * 200_000, "broken json"),
        ("json", b'{"sample_id": ' + b"9" * 5000 + b"}", "broken json"),
        ("json", b'{"sample_id": 1e999}', "sample_id is not a natural number"),
        ("json", b" " * (1 << 20) + b"{}", "json is too large"),
        ("txt", b"x" * ((1 << 20) + 1), "caption is too long"),
        ("png", bytes((1 << 26) + 1), "image file is too large"),
        ("json", b'{"sample_id": true}', "sample_id is not a natural number"),
        ("json", b'{"sample_id": 1000000000000000000000}', "sample_id is not a natural number"),
    ],
)
def test_members_that_are_meant_to_do_harm(tmp_path, member, data, reason):
    """Formats for which Pillow starts other programs, and numbers and nesting that no one needs."""
    samples = [("a", pair(0)), ("b", {**(pair(1) if member != "jpg" else without(1, "png")), member: data})]
    manifest, rows = check(tmp_path, {"0.tar": samples})
    assert manifest["refused"] == {reason: 1} and [row["sample_id"] for row in rows] == [0]


def test_a_sparse_file_is_not_unfolded(tmp_path):
    """Its few bytes stand for a terabyte of zeros."""
    write_tar(tmp_path / "0.tar", [("a", pair(0)), ("b", without(1, "png"))])
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        info = tarfile.TarInfo("b.png")
        info.size, info.pax_headers = 4, {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,4"}
        tar.addfile(info, io.BytesIO(b"data"))
    write_record(tmp_path, ["0.tar"], 2)
    build_manifest("test", any_corpus(), "train", tmp_path)
    assert json.loads((tmp_path / MANIFEST).read_text())["refused"] == {"no image": 1}


def test_a_member_of_more_bytes_than_the_index_has_room_for(tmp_path):
    """2 GiB of zeros, which take no room on the disk."""
    path = tmp_path / "0.tar"
    write_tar(path, [("a", pair(0))])
    whole = path.read_bytes().rstrip(b"\0")
    data = b""
    for name, size in (("b.txt", 5), ("b.png", 3 << 30)):
        info = tarfile.TarInfo(name)
        info.size = size
        data += info.tobuf(tarfile.USTAR_FORMAT) + (b"thing".ljust(512, b"\0") if size == 5 else b"")
    path.write_bytes(whole + bytes(-len(whole) % 512) + data)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size + (3 << 30) + 1024)
    shard = tars.samples(path)
    assert [list(sample.members) for sample in shard] == [["png", "txt", "json"], ["txt", "png"]]
    with pytest.raises(_Refused, match="image file is too large"):
        _row(list(tars.samples(path))[1], 1, set())


def test_other_files_are_ignored(tmp_path, capsys):
    """As a Mac's tar, a careful publisher or another tool leaves them; the pairs and their numbers stay the same."""
    named = [(f"b/{n}", without(n, "json")) for n in range(3)]
    plain, expected = check(tmp_path / "plain", {"0.tar": named})
    assert "ignored" not in capsys.readouterr().out
    extra = [("README", {"md": b"x", "\x1b[2j": b"x"}), ("b/index", {"json": b"{}"})]
    mixed = [(key, {**members, "cls": b"1", "exe": b"MZ"}) for key, members in named]  # also within pairs
    manifest, rows = check(tmp_path / "mixed", {"0.tar": [extra[0], *mixed, extra[1]]})
    assert (manifest["downloaded"], manifest["samples"], manifest["refused"]) == (3, 3, {})
    assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in expected] == [0, 1, 2]
    assert "ignored: 1 .md, 1 .\\x1b[2j, 1 .json" in capsys.readouterr().out


def test_a_corpus_of_other_files_says_what_it_holds(tmp_path):
    with pytest.raises(AmorlipError, match=r"only 0 of 0 pairs.*ignored: 2 \.gif, 2 \.caption"):
        check(tmp_path, {"0.tar": [(str(n), {"gif": b"x", "caption": b"a"}) for n in range(2)]})


def test_a_missing_caption(tmp_path):
    manifest, _ = check(tmp_path, {"0.tar": [("a", pair(0)), ("b", without(1, "txt"))]})
    assert manifest["refused"] == {"no caption": 1}


def test_repeated_keys_and_ids_count_once(tmp_path):
    shards = {"0.tar": [("a", pair(0)), ("b", pair(1)), ("a", pair(2))], "1.tar": [("a", pair(1)), ("b", pair(4))]}
    manifest, rows = check(tmp_path, shards)
    assert manifest["refused"] == {"duplicate key": 1, "duplicate sample_id": 1}
    assert [(row["sample_id"], row["shard"]) for row in rows] == [(0, 0), (1, 0), (4, 1)]


def test_neighbors_of_one_name_are_not_mixed(tmp_path):
    """The second one's caption must not go to the first one's image."""
    samples = [("a", pair(0)), ("a", without(1, "png")), ("a", pair(2)), ("b", pair(3))]
    manifest, rows = check(tmp_path, {"0.tar": samples})
    assert manifest["refused"] == {"duplicate key": 2} and manifest["downloaded"] == 4
    assert [row["sample_id"] for row in rows] == [0, 3]
    data = (tmp_path / "0.tar").read_bytes()
    assert data[rows[0]["caption_offset"] :][: rows[0]["caption_bytes"]] == b"thing 0"


def test_a_mirror_is_numbered_by_place(tmp_path):
    shards = {
        "0.tar": [("a", without(0, "json")), ("b", without(1, "json", "png")), ("c", without(2, "json"))],
        "1.tar": [("a", {**pair(9), "json": b'{"url": "http://x"}'})],
    }
    manifest, rows = check(tmp_path, shards)
    assert [row["sample_id"] for row in rows] == [0, 2, 3]
    assert manifest["requested"] == 4 and manifest["max_sample_id"] == 3


def test_ids_in_some_pairs_only_are_refused(tmp_path):
    with pytest.raises(AmorlipError, match="1 of 2 pairs have a sample_id"):
        check(tmp_path, {"0.tar": [("a", pair(0)), ("b", without(1, "json"))]})


def test_too_small_a_yield_stops_with_the_reasons(tmp_path):
    samples = [("a", pair(0)), ("b", {**pair(1), "txt": b""})]
    failed = {"HTTP Error 404: Not Found": 6, "timed out": 2}
    with pytest.raises(AmorlipError) as error:
        check(tmp_path, {"0.tar": samples}, requested=10, failed=failed, min_yield=0.11)
    assert "only 1 of 10 pairs (10.0%)" in str(error.value) and "min_yield is 11.0%" in str(error.value)
    assert "HTTP Error 404: Not Found: 6, timed out: 2, no caption: 1" in str(error.value)
    assert not (tmp_path / MANIFEST).exists() and not (tmp_path / INDEX).exists()
    check(tmp_path, {"0.tar": samples}, requested=10, failed=failed, min_yield=0.1)


def test_an_empty_corpus_stops(tmp_path):
    with pytest.raises(AmorlipError, match="only 0 of 3 pairs"):
        check(tmp_path, {"0.tar": []}, requested=3)


def test_missing_and_broken_shards_are_named(tmp_path):
    with pytest.raises(AmorlipError, match=r"download\.json: No such file.*run the stage `download`"):
        build_manifest("test", any_corpus(), "train", tmp_path)
    write_record(tmp_path, ["0.tar"], 1)
    with pytest.raises(AmorlipError, match=r"shard .*0\.tar cannot be read"):
        build_manifest("test", any_corpus(), "train", tmp_path)
    write_tar(tmp_path / "0.tar", [("a", pair(0)), ("b", pair(1))])
    whole = (tmp_path / "0.tar").read_bytes()
    for size in (0, 700, 1700, 2048, 3000, whole.rstrip(b"\0").__len__()):
        (tmp_path / "0.tar").write_bytes(whole[:size])
        with pytest.raises(AmorlipError, match=r"shard .*0\.tar cannot be read (.*); delete it and"):
            build_manifest("test", any_corpus(), "train", tmp_path)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    """The pairs behind it would be lost without a word."""
    write_tar(tmp_path / "0.tar", [(str(n), pair(n)) for n in range(4)])
    write_record(tmp_path, ["0.tar"], 4)
    data = bytearray((tmp_path / "0.tar").read_bytes())
    header = data.index(b"2.png")
    data[header] ^= 1
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(AmorlipError, match=rf"0\.tar cannot be read \(the header at byte {header} is damaged"):
        build_manifest("test", any_corpus(), "train", tmp_path)


def test_many_shards_keep_their_order(tmp_path):
    ids = np.random.default_rng(0).permutation(60).reshape(12, 5)
    write_split(tmp_path, ids.tolist())
    rows = pq.read_table(tmp_path / INDEX).to_pandas()
    assert rows["shard"].tolist() == np.repeat(np.arange(12), 5).tolist()
    assert rows["sample_id"].tolist() == np.sort(ids, axis=1).ravel().tolist()


@pytest.fixture
def read_whole(monkeypatch) -> list[str]:
    """The names of files whose checksum is computed."""
    found, sha256 = [], manifests.sha256
    monkeypatch.setattr(manifests, "sha256", lambda path: (found.append(path.name), sha256(path))[1])
    return found


def later(path, seconds=3600) -> None:
    """A time of the manifest after which nothing was written, as on the disk that the stage wrote to."""
    time = path.stat().st_mtime + seconds
    os.utime(path, (time, time))


@pytest.mark.parametrize("keeps_times", [True, False])
def test_a_copy_is_compared_once(tmp_path, read_whole, keeps_times):
    """All its files are newer than the manifest by their ctime; one that keeps times need not be read at all."""
    folder = write_split(tmp_path / "train", [[0, 1], [2]])
    later(folder / MANIFEST, -3600)
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy2 if keeps_times else shutil.copy)
    read_whole.clear()
    for _ in range(3):
        assert read_manifest(copy).samples == 3
    assert sorted(name for name in read_whole if name.endswith(".tar")) == (
        [] if keeps_times else ["00000.tar", "00001.tar"]
    )


def test_what_was_compared_is_forgotten_when_a_shard_or_the_manifest_changes(tmp_path, read_whole):
    folder = write_split(tmp_path / "train", [[0, 1], [2]])
    shard = folder / "00001.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(AmorlipError, match=r"00001\.tar does not match its checksum"):
            read_manifest(folder)
    write_split(tmp_path / "other", [[0, 1], [3]])
    read_whole.clear()
    shutil.copy2(folder / CHECKED, tmp_path / "other" / CHECKED)
    later(tmp_path / "other" / MANIFEST, -3600)
    assert read_manifest(tmp_path / "other").samples == 3 and read_whole == ["00000.tar", "00001.tar"]


def test_a_copy_that_cannot_be_written_to_is_compared_each_time(tmp_path, read_whole, monkeypatch):
    folder = write_split(tmp_path / "train", [[0, 1]])
    (folder / CHECKED).unlink()
    later(folder / MANIFEST, -3600)
    monkeypatch.setattr(manifests.Checked, "write", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    read_whole.clear()
    assert [read_manifest(folder).samples for _ in range(2)] == [2, 2] and read_whole == ["00000.tar"] * 2
    assert read_manifest(folder, compare=False).samples == 2 and len(read_whole) == 2
