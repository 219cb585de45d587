"""A csv file and a zip archive become shards; every fault is one line that names the file."""

from __future__ import annotations

import csv
import io
import json
import stat
import tarfile
import zipfile
from contextlib import suppress

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.common.files import sha256
from amorlip.config.benchmark import TaskSource
from amorlip.tasks import pack
from amorlip.tasks.provide import provide
from tests.helpers.bounds import bounded

IMAGES = {f"pictures/{number}.jpg": b"image %d" % number for number in (2, 0, 1)}
ROWS = [
    {"filename": "0.jpg", "raw": json.dumps(["a", 'b "quoted", \u00e9'])},
    {"filename": "1.jpg", "raw": json.dumps(["two\nlines\u2028 here "])},
    {"filename": "2.jpg", "raw": json.dumps(["d", "e", "f"])},
]


def write_csv(path, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def members(path):
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]


@pytest.fixture
def published(tmp_path):
    """A retrieval set of three images, one of which the table does not name."""
    folder = tmp_path / "published"
    folder.mkdir()
    write_csv(folder / "captions.csv", ROWS)
    write_zip(folder / "images.zip", {**IMAGES, "pictures/9.jpg": b"unused", "__MACOSX/pictures/._0.jpg": b"finder"})
    return folder


def refused(folder, output, *words):
    with pytest.raises(AmorlipError) as caught:
        pack.pack(folder, output)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def test_images_and_captions_in_the_order_of_the_table(published, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "IMAGES_PER_SHARD", 2)
    pack.pack(published, tmp_path / "out")
    assert (tmp_path / "out/test/nshards.txt").read_text() == "2\n"
    assert members(tmp_path / "out/test/0.tar") == [
        ("s0000000.jpg", b"image 0"), ("s0000000.txt", 'a\nb "quoted", \u00e9\n'.encode()),
        ("s0000001.jpg", b"image 1"), ("s0000001.txt", b"two lines here\n"),
    ]  # fmt: skip
    assert members(tmp_path / "out/test/1.tar") == [("s0000000.jpg", b"image 2"), ("s0000000.txt", b"d\ne\nf\n")]


def test_equal_contents_give_equal_shards(published, tmp_path):
    pack.pack(published, tmp_path / "one")
    pack.pack(published, tmp_path / "two")
    assert sha256(tmp_path / "one/test/0.tar") == sha256(tmp_path / "two/test/0.tar")


def test_candidates_once_each(tmp_path):
    rows = [
        {"cue": "x", "candidates": "['bee', \"o'clock\"]", "associations": "['bee']"},
        {"cue": "y", "candidates": "['st. bernard', 'bee']", "associations": "['bee']"},
    ]
    write_csv(tmp_path / "rounds.csv", rows)
    write_zip(tmp_path / "images.zip", {f"i/{name}.jpg": name.encode() for name in ("bee", "o'clock", "st. bernard")})
    pack.pack(tmp_path, tmp_path)
    assert members(tmp_path / "test/0.tar") == [
        ("s0000000.jpg", b"bee"), ("s0000000.txt", b"bee\n"),
        ("s0000001.jpg", b"o'clock"), ("s0000001.txt", b"o'clock\n"),
        ("s0000002.jpg", b"st. bernard"), ("s0000002.txt", b"st. bernard\n"),
    ]  # fmt: skip


def test_a_users_folder_is_packed_into_the_task(published, tmp_path):
    """The archive stays where it was, and its digest in the record."""
    before = sha256(published / "images.zip")
    output = tmp_path / "task"
    provide(TaskSource(kind="folder", path=str(published)), output)
    assert sha256(published / "images.zip") == before and sorted(published.iterdir()) == [
        published / "captions.csv", published / "images.zip"
    ]  # fmt: skip
    record = json.loads((output / "task.json").read_text())
    assert record["source"]["archives"] == {"images.zip": before}
    assert sorted(record["files"]) == ["captions.csv", "test/0.tar", "test/nshards.txt"]
    assert not (output / "images.zip").exists()


def test_shards_of_before_are_gone(published, tmp_path):
    (tmp_path / "out/test").mkdir(parents=True)
    (tmp_path / "out/test/7.tar").write_bytes(b"")
    pack.pack(published, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/test").glob("*.tar")] == ["0.tar"]


@pytest.mark.parametrize("raw", ["", "not json", '"a"', "[]", "[1]", "{}", "['a']"])
def test_captions_that_are_no_list_of_texts(published, tmp_path, raw):
    write_csv(published / "captions.csv", [ROWS[0], {"filename": "1.jpg", "raw": raw}])
    refused(published, tmp_path / "out", published / "captions.csv", "row 2", "raw")


@pytest.mark.parametrize("candidates", ["bee, tea", "__import__('os')", "[]"])
def test_candidates_that_are_no_list_of_texts(published, tmp_path, candidates):
    write_csv(published / "captions.csv", [{"cue": "x", "candidates": candidates, "associations": "['bee']"}])
    refused(published, tmp_path / "out", published / "captions.csv", "row 1", "candidates")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ROWS[0], ROWS[0]], ["listed twice", "0.jpg"]),
        ([{**ROWS[0], "filename": "8.jpg"}], ["0 images", "'8'"]),
        ([{"name": "0.jpg", "raw": "[]"}], ["filename", "name, raw"]),
    ],
)
def test_tables_that_do_not_fit(published, tmp_path, rows, words):
    write_csv(published / "captions.csv", rows)
    refused(published, tmp_path / "out", *words)


@pytest.mark.parametrize("text", ["filename,raw\n", ""])
def test_a_table_without_rows(published, tmp_path, text):
    (published / "captions.csv").write_text(text)
    refused(published, tmp_path / "out", published / "captions.csv")


def test_files_that_are_missing_or_too_many(published, tmp_path):
    (published / "second.csv").write_text("filename,raw\n")
    refused(published, tmp_path / "out", "2 files *.csv")
    (published / "second.csv").unlink()
    (published / "images.zip").unlink()
    refused(published, tmp_path / "out", "0 files *.zip")


def test_faulty_archives_leave_no_shard(published, tmp_path):
    archive = published / "images.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(published, tmp_path / "out", archive, "not a complete zip archive")
    archive.write_bytes(whole.replace(b"image 1", b"image X"))
    refused(published, tmp_path / "out", archive, "pictures/1.jpg")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    write_zip(archive, {f"{folder}/{number}.jpg": b"" for number in range(3) for folder in "ab"})
    refused(published, tmp_path / "out", archive, "2 images", "'0'")


def bomb(path, sizes, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, size in enumerate(sizes):
            archive.writestr(f"{number}.jpg", bytes(size))


@pytest.mark.parametrize(
    ("sizes", "method", "words"),
    [
        ([1, 1 << 27, 1], zipfile.ZIP_DEFLATED, ["1.jpg has 134217728 bytes, more than 67108864"]),
        ([1 << 22] * 3, zipfile.ZIP_DEFLATED, ["its images have 12582912 bytes, more than 100 times the archive"]),
        ([1, 1, 1 << 20], zipfile.ZIP_LZMA, ["0.jpg is encrypted or not compressed by deflate"]),
        ([1, 1, 1 << 20], zipfile.ZIP_BZIP2, ["0.jpg is encrypted or not compressed by deflate"]),
    ],
)
def test_a_zip_bomb(published, tmp_path, sizes, method, words):
    bomb(published / "images.zip", sizes, method)
    refused(published, tmp_path / "out", published / "images.zip", *words)
    assert not (tmp_path / "out").exists()


def test_a_zip_bomb_that_lies_about_its_size(published, tmp_path):
    """The list of members gives a thousandth of what its data unfold to."""
    path = published / "images.zip"
    bomb(path, [1, 1, 1 << 28])
    data = path.read_bytes()
    path.write_bytes(data.replace((1 << 28).to_bytes(4, "little"), (1 << 10).to_bytes(4, "little")))
    with bounded(mib=200):
        refused(published, tmp_path / "out", path, "2.jpg cannot be read")


def test_a_zip_of_too_many_members(published, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "MOST_DIRECTORY_BYTES", 200)
    refused(published, tmp_path / "out", published / "images.zip", "its list of members has more than 200 bytes")


def test_a_zip_whose_bytes_are_damaged(published, tmp_path):
    """Anywhere: refused in one line, or not noticed because the byte is of no use."""
    path = published / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in IMAGES.items():
            archive.writestr(name, data * 20)
    whole = path.read_bytes()
    seen = set()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(AmorlipError):
            pack.pack(published, tmp_path / "out")
            seen.add(sha256(tmp_path / "out/test/0.tar"))
    assert len(seen) == 1  # whatever was written is what the whole archive gives


def test_a_zip_with_a_symbolic_link(published, tmp_path):
    with zipfile.ZipFile(published / "images.zip", "a") as file:
        link = zipfile.ZipInfo("pictures/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/hostname")
    refused(published, tmp_path / "out", published / "images.zip", "link.jpg", "symbolic link")


def test_a_classification_set_with_such_files_is_left_as_it_is(sets, published, tmp_path):
    """Its shards would be replaced."""
    sets.classification(published, sets.pictures(2), [0, 0], ["cat"], ["a {c}"])
    provide(TaskSource(kind="folder", path=str(published)), tmp_path / "task")
    assert sha256(tmp_path / "task" / "test" / "0.tar") == sha256(published / "test" / "0.tar")
    assert (tmp_path / "task" / "images.zip").exists()
