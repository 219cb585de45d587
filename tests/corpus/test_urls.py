from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.corpus import UrlList, UrlSource
from amorlip.corpus.urls import write_urls


def listed(server, name, columns=("url", "caption")) -> UrlList:
    return UrlList(url=f"{server.url}/{name}", columns=list(columns))


def rows_of(source: UrlSource, folder) -> list[dict]:
    write_urls(source, folder / "urls.parquet")
    assert [path.name for path in folder.iterdir()] == ["urls.parquet"]
    return pq.read_table(folder / "urls.parquet").to_pylist()


def test_both_column_orders_and_both_splits(server, tmp_path):
    server.pages["/train.tsv"] = b'a "quoted\t\n' + "ein Bär, \"quoted\thttps://x/1.jpg\n'b\thttp://x/2\n".encode()
    server.pages["/val.tsv"] = b"https://x/3.jpg\tc\n"
    source = UrlSource(train=listed(server, "train.tsv", ["caption", "url"]), validation=listed(server, "val.tsv"))
    assert rows_of(source, tmp_path) == [
        {"sample_id": 0, "url": "https://x/1.jpg", "caption": 'ein Bär, "quoted', "split": "train"},
        {"sample_id": 1, "url": "http://x/2", "caption": "'b", "split": "train"},
        {"sample_id": 2, "url": "https://x/3.jpg", "caption": "c", "split": "validation"},
    ]


def test_a_part_is_set_aside_by_address(server, tmp_path):
    lines = [f"http://x/{i % 1500}.jpg\tcaption {i}" for i in range(2000)]
    server.pages["/list.tsv"] = "\n".join(lines).encode()
    rows = rows_of(UrlSource(train=listed(server, "list.tsv"), validation_fraction=0.2), tmp_path)
    assert [row["sample_id"] for row in rows] == list(range(2000))
    aside = {row["url"] for row in rows if row["split"] == "validation"}
    assert not aside & {row["url"] for row in rows if row["split"] == "train"}
    assert 240 < len(aside) < 360
    # Another order of the list changes no address's split.
    server.pages["/list.tsv"] = "\n".join(lines[::-1]).encode()
    again = rows_of(UrlSource(train=listed(server, "list.tsv"), validation_fraction=0.2), tmp_path)
    assert {row["url"] for row in again if row["split"] == "validation"} == aside


def test_all_trains_by_default(server, tmp_path):
    server.pages["/list.tsv"] = b"http://x/1.jpg\ta\n"
    assert [row["split"] for row in rows_of(UrlSource(train=listed(server, "list.tsv")), tmp_path)] == ["train"]


def test_faulty_lines_are_left_out_and_told(server, tmp_path, capsys):
    server.pages["/list.tsv"] = (
        b"http://x/1\ta\nhttp://x/2\t \nno address\tb\nhttp://x/3\tc\td\nhttp://x/4\td\nhttp://x/5\te\n"
    )
    rows = rows_of(UrlSource(train=listed(server, "list.tsv")), tmp_path)
    assert [row["url"] for row in rows] == ["http://x/1", "http://x/4", "http://x/5"]
    said = capsys.readouterr().out
    assert "1 lines without exactly two columns" in said and "2 lines without address or caption" in said


def test_file_addresses(tmp_path):
    path = tmp_path / "list.tsv"
    path.write_text("a\tfile:///x/1.png\n")
    write_urls(UrlSource(train=UrlList(url=path.as_uri(), columns=["caption", "url"])), tmp_path / "urls.parquet")
    assert pq.read_table(tmp_path / "urls.parquet")["url"].to_pylist() == ["file:///x/1.png"]


@pytest.mark.parametrize(
    ("page", "columns", "message"),
    [
        (None, ["url", "caption"], "cannot be downloaded: HTTP Error 404"),
        (b"\n <!DOCTYPE html><html>log in</html>", ["url", "caption"], "holds a web page"),
        (b"http://x/1\ta\nhttp://x/2\tb\n", ["caption", "url"], "0 of 2 lines .* check the order"),
        (b"http://x/1\t\xff\xfe\n", ["url", "caption"], "not tab-separated UTF-8"),
        (b"", ["url", "caption"], "not tab-separated"),
        (b"http://x/1\ta\n", ["url", "url"], "must be url and caption"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_told_in_one_line(server, tmp_path, page, columns, message):
    server.pages.pop("/bad.tsv", None)
    if page is not None:
        server.pages["/bad.tsv"] = page
    with pytest.raises(AmorlipError, match=message) as error:
        write_urls(UrlSource(train=listed(server, "bad.tsv", columns)), tmp_path / "urls.parquet")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_broke_off_is_not_used(server, tmp_path):
    server.pages["/cut.tsv"] = b"http://x/1\ta\n" * 10
    server.headers["/cut.tsv"] = {"Content-Length": "500"}
    with pytest.raises(AmorlipError, match="broke off after 130 of 500 bytes"):
        write_urls(UrlSource(train=listed(server, "cut.tsv")), tmp_path / "urls.parquet")


def test_no_server(tmp_path):
    source = UrlSource(train=UrlList(url="http://127.0.0.1:9/list.tsv", columns=["url", "caption"]))
    with pytest.raises(AmorlipError, match="cannot be downloaded: .*refused"):
        write_urls(source, tmp_path / "urls.parquet")
