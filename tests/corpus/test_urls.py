from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amorlip import user_files
from amorlip.common import web
from amorlip.common.errors import AmorlipError
from amorlip.config import checks, corpus_pairs
from amorlip.config.corpus import UrlList, UrlSource
from amorlip.corpus import urls
from amorlip.corpus.download import download
from amorlip.corpus.urls import percent_encoded, write_urls
from tests.helpers.miniatures import any_corpus, picture


def listed(server, name, columns=("url", "caption")) -> UrlList:
    return UrlList(url=f"{server.url}/{name}", columns=list(columns))


def loopback(**keys) -> UrlSource:
    return UrlSource(**keys, allow_private_addresses=True)


def rows_of(source: UrlSource, folder) -> list[dict]:
    write_urls(source, folder / "urls.parquet")
    assert sorted(path.name for path in folder.iterdir()) == ["lists.json", "urls.parquet"]
    return pq.read_table(folder / "urls.parquet").to_pylist()


def test_both_column_orders_and_both_splits(server, tmp_path):
    server.pages["/train.tsv"] = b'a "quoted\t\n' + "ein Bär, \"quoted\thttps://x/1.jpg\n'b\thttp://x/2\n".encode()
    server.pages["/val.tsv"] = b"https://x/3.jpg\tc\n"
    source = loopback(train=listed(server, "train.tsv", ["caption", "url"]), validation=listed(server, "val.tsv"))
    assert rows_of(source, tmp_path) == [
        {"sample_id": 0, "url": "https://x/1.jpg", "caption": 'ein Bär, "quoted', "split": "train"},
        {"sample_id": 1, "url": "http://x/2", "caption": "'b", "split": "train"},
        {"sample_id": 2, "url": "https://x/3.jpg", "caption": "c", "split": "validation"},
    ]


def test_a_part_is_set_aside_by_address(server, tmp_path):
    lines = [f"http://x/{i % 1500}.jpg\tcaption {i}" for i in range(2000)]
    server.pages["/list.tsv"] = "\n".join(lines).encode()
    rows = rows_of(loopback(train=listed(server, "list.tsv"), validation_fraction=0.2), tmp_path)
    assert [row["sample_id"] for row in rows] == list(range(2000))
    aside = {row["url"] for row in rows if row["split"] == "validation"}
    assert not aside & {row["url"] for row in rows if row["split"] == "train"}
    assert 240 < len(aside) < 360
    # Another order of the list changes no address's split.
    server.pages["/list.tsv"] = "\n".join(lines[::-1]).encode()
    again = rows_of(loopback(train=listed(server, "list.tsv"), validation_fraction=0.2), tmp_path)
    assert {row["url"] for row in again if row["split"] == "validation"} == aside


def test_all_trains_by_default(server, tmp_path):
    server.pages["/list.tsv"] = b"http://x/1.jpg\ta\n"
    assert [row["split"] for row in rows_of(loopback(train=listed(server, "list.tsv")), tmp_path)] == ["train"]


def test_faulty_lines_are_left_out_and_told(server, tmp_path, capsys):
    server.pages["/list.tsv"] = (
        b"http://x/1\ta\nhttp://x/2\t \nno address\tb\nhttp://x/3\tc\td\nhttp://x/4\td\nhttp://x/5\te\n"
    )
    rows = rows_of(loopback(train=listed(server, "list.tsv")), tmp_path)
    assert [row["url"] for row in rows] == ["http://x/1", "http://x/4", "http://x/5"]
    said = capsys.readouterr().out
    assert "1 lines without exactly two columns" in said and "2 lines without address or caption" in said


def test_file_addresses(tmp_path):
    path = tmp_path / "list.tsv"
    path.write_text("a\tfile:///x/1.png\n")
    write_urls(UrlSource(train=UrlList(url=path.as_uri(), columns=["caption", "url"])), tmp_path / "urls.parquet")
    assert pq.read_table(tmp_path / "urls.parquet")["url"].to_pylist() == ["file:///x/1.png"]


def test_a_list_at_a_path_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my lists").mkdir()
    (tmp_path / "my lists/train.tsv").write_text("file:///x/1.png\ta\n")
    monkeypatch.chdir(tmp_path)
    source = UrlSource(train=UrlList(url="file:my%20lists/train.tsv", columns=["url", "caption"]))
    write_urls(source, tmp_path / "urls.parquet")
    assert pq.read_table("urls.parquet")["url"].to_pylist() == ["file:///x/1.png"]
    corpus = any_corpus(urls=source.model_dump())
    checks.check_lists(corpus)
    assert user_files.lists(corpus) == [Path("my lists/train.tsv")]
    assert corpus_pairs.known("mini", corpus, tmp_path).pairs == 1


@pytest.mark.parametrize("name", ["a.png", "a b/\u00e9 (1), +.png", "100%25.png"])
@pytest.mark.parametrize("here", ["study", "my study, \u00e9", "a(1)+b"])
def test_files_below_the_working_directory_name_no_folder_of_this_machine(tmp_path, monkeypatch, here, name):
    folder = tmp_path / here
    picture, outside = folder / name, tmp_path / "outside.png"
    picture.parent.mkdir(parents=True)
    for path in (picture, outside):
        path.write_bytes(b"x")
    monkeypatch.chdir(folder)
    written = [picture.as_uri(), f"file://{picture.as_posix().replace('%', '%25')}", outside.as_uri()]
    Path("list.tsv").write_text("".join(f"{url}\ta\n" for url in written))
    write_urls(UrlSource(train=UrlList(url="file:list.tsv", columns=["url", "caption"])), Path("urls.parquet"))
    first, second, third = pq.read_table("urls.parquet")["url"].to_pylist()
    assert not [url for url in (first, second) if tmp_path.name in url]
    assert third == outside.as_uri()
    opener = web.opener(most_bytes=100, files=True)
    assert [opener.open(url, timeout=5).read() for url in (first, second, third)] == [b"x"] * 3


def test_only_a_list_of_this_machine_may_name_its_files(server, tmp_path):
    server.pages["/list.tsv"] = b"file:///etc/private.png\ta\nhttp://x/1\tb\nhttp://x/2\tc\n"
    rows = rows_of(loopback(train=listed(server, "list.tsv")), tmp_path)
    assert [row["url"] for row in rows] == ["http://x/1", "http://x/2"]


@pytest.mark.parametrize(
    ("page", "columns", "message"),
    [
        (None, ["url", "caption"], "cannot be downloaded: HTTP Error 404"),
        (b"\n <!DOCTYPE html><html>log in</html>", ["url", "caption"], "holds a web page"),
        (b"http://x/1\ta\nhttp://x/2\tb\n", ["caption", "url"], "0 of 2 lines .* check the order"),
        (b"http://x/1\t\xff\xfe\n", ["url", "caption"], "not tab-separated UTF-8"),
        (b"", ["url", "caption"], "not tab-separated"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_told_in_one_line(server, tmp_path, page, columns, message):
    server.pages.pop("/bad.tsv", None)
    if page is not None:
        server.pages["/bad.tsv"] = page
    with pytest.raises(AmorlipError, match=message) as error:
        write_urls(loopback(train=listed(server, "bad.tsv", columns)), tmp_path / "urls.parquet")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_broke_off_is_not_used(server, tmp_path):
    server.pages["/cut.tsv"] = b"http://x/1\ta\n" * 10
    server.headers["/cut.tsv"] = {"Content-Length": "500"}
    with pytest.raises(AmorlipError, match="incomplete: 130 of 500 bytes"):
        write_urls(loopback(train=listed(server, "cut.tsv")), tmp_path / "urls.parquet")


def refused(source: UrlSource, folder, words: str) -> None:
    with pytest.raises(AmorlipError, match=words) as error:
        write_urls(source, folder / "urls.parquet")
    assert "\n" not in str(error.value)
    assert not list(folder.glob("*"))


def test_a_list_of_a_private_server_needs_the_key(server, tmp_path):
    server.pages["/private.tsv"] = b"http://x/1.jpg\ta\n"
    refused(
        UrlSource(train=listed(server, "private.tsv")), tmp_path, "private address.*set urls.allow_private_addresses"
    )
    assert not server.visits["/private.tsv"]


@pytest.mark.parametrize("status", [200, 203, 302])
def test_a_list_without_end_is_refused(server, tmp_path, monkeypatch, status):
    monkeypatch.setattr(urls, "MOST_LIST_BYTES", 1 << 20)
    server.pages["/long.tsv"] = lambda _: (status, b"http://x/1.jpg\ta\n" * (1 << 17))
    server.headers["/long.tsv"] = {"Location": "/list.tsv"}
    refused(loopback(train=listed(server, "long.tsv")), tmp_path, "answer is too large: more than 1 MiB")


def test_a_list_that_drips_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr("amorlip.common.web.WINDOW_S", 0.2)

    def late(_: int) -> tuple[int, bytes]:
        time.sleep(1)
        return 200, b""

    server.pages["/late.tsv"] = late
    refused(loopback(train=listed(server, "late.tsv")), tmp_path, "timed out")


def test_a_list_that_would_fill_the_disk_is_refused(server, tmp_path, monkeypatch):
    server.pages["/list.tsv"] = b"http://x/1.jpg\ta\n"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=1 << 40, free=1 << 20))
    refused(loopback(train=listed(server, "list.tsv")), tmp_path, "does not fit on the disk .* 1.0 MiB are free")


@pytest.mark.parametrize("length", ["4, 4", "-5", "x"])
def test_a_length_that_is_no_number(server, tmp_path, length):
    server.pages["/odd.tsv"] = b"http://x/1.jpg\ta\n"
    server.headers["/odd.tsv"] = {"Content-Length": length}
    assert len(rows_of(loopback(train=listed(server, "odd.tsv")), tmp_path)) == 1
    del server.headers["/odd.tsv"]


def test_a_list_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    (tmp_path / "out").mkdir()
    for path in (tmp_path / "pipe.tsv", Path("/dev/zero")):
        source = UrlSource(train=UrlList(url=path.as_uri(), columns=["url", "caption"]))
        refused(source, tmp_path / "out", "not a regular file")


def test_no_server(tmp_path):
    source = loopback(train=UrlList(url="http://127.0.0.1:9/list.tsv", columns=["url", "caption"]))
    with pytest.raises(AmorlipError, match="cannot be downloaded: .*refused"):
        write_urls(source, tmp_path / "urls.parquet")


# ---------------------------------------------------------------- addresses


def encoded(url: str) -> str:
    return percent_encoded(pa.chunked_array([[url]])).to_pylist()[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://x.org/a.jpg", "http://x.org/a.jpg"),
        ("HTTP://x.org/A.jpg", "http://x.org/A.jpg"),
        ("Https://x.org/a.jpg", "https://x.org/a.jpg"),
        (" \u00a0http://x.org/a.jpg\t\r", "http://x.org/a.jpg"),
        ("http://x.org/caf\u00e9.jpg", "http://x.org/caf%C3%A9.jpg"),
        ("http://x.org/caf%C3%A9.jpg", "http://x.org/caf%C3%A9.jpg"),
        ("http://x.org/caf%C3%A9 \u00e9.jpg", "http://x.org/caf%C3%A9%20%C3%A9.jpg"),
        ("http://x.org/\u56fe\u7247/1.jpg?q=\u56fe", "http://x.org/%E5%9B%BE%E7%89%87/1.jpg?q=%E5%9B%BE"),
        ("http://x.org/a b.jpg", "http://x.org/a%20b.jpg"),
        ('http://x.org/"a".jpg', "http://x.org/%22a%22.jpg"),
        ("http://x.org/100%.jpg", "http://x.org/100%25.jpg"),
        ("http://x.org/a%2Fb%zz", "http://x.org/a%2Fb%25zz"),
        ("http://m\u00fcnchen.de/\u00fc.jpg", "http://xn--mnchen-3ya.de/%C3%BC.jpg"),
        ("http://x.org:8080/a.jpg#top \u00e9", "http://x.org:8080/a.jpg#top%20%C3%A9"),
        ("file:///home/a b/\u00e9.png", "file:///home/a%20b/%C3%A9.png"),
        ("FILE:a b/\u00e9.png", "file:a%20b/%C3%A9.png"),
        ("ftp://x.org/\u00e9", "ftp://x.org/\u00e9"),
        ("no address", "no address"),
    ],
)
def test_addresses_are_encoded_as_browsers_do(url, expected):
    assert encoded(url) == expected
    assert encoded(expected) == expected


@pytest.mark.parametrize("place", ["/{}", "/a/{}.jpg", "/a?q={}", "/a#{}"])
@pytest.mark.parametrize("number", [*range(33, 127), 0xA1, 0xE9, 0x3B1, 0x56FE, 0x1F600])
def test_every_character_is_kept_or_encoded(place, number):
    """What a server reads is what was in the list."""
    url = f"http://x.org{place.format(chr(number) + 'z')}"
    sent = encoded(url)
    assert sent.isascii() and unquote(sent) == url


def test_addresses_of_every_kind_are_downloaded(server, tmp_path):
    """Through the stages `urls` and `download`, as a browser would show them all."""
    paths = [
        "/plain.jpg",
        "/caf%C3%A9.jpg",
        "/ca\u00e9.jpg",
        "/\u56fe/1.jpg",
        "/a b.jpg",
        "/q\u00e9",
        '/"f".jpg',
        "/f#top",
    ]
    addresses = [server.url + path for path in paths]
    addresses += [
        server.url.replace("http", "HTTP") + "/upper.jpg",
        f"  {server.url}/before.jpg",
        f"{server.url}/after.jpg  ",
    ]
    server.pages["/odd.tsv"] = "".join(f"{url}\tcaption\n" for url in addresses).encode()
    rows = rows_of(loopback(train=listed(server, "odd.tsv")), tmp_path)
    assert len(rows) == len(addresses)
    for row in rows:
        server.pages[urlsplit(row["url"]).path] = picture(0)
    speed = {"processes": 1, "threads": 2, "timeout_s": 5, "retries": 0}
    download(any_corpus(download=speed), "train", tmp_path / "urls.parquet", tmp_path / "train")
    record = json.loads((tmp_path / "train" / "download.json").read_text())
    assert (record["downloaded"], record["failed"]) == (len(addresses), {}), record
