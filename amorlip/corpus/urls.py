"""Lists of image addresses and captions, brought into one table for both splits."""

from __future__ import annotations

import codecs
import http.client
import re
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pyarrow import csv

from amorlip.common import web
from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.files import atomic_path, sha256
from amorlip.common.hosts import PrivateAddress
from amorlip.common.room import check_room
from amorlip.common.stable_hash import unit
from amorlip.config.corpus import UrlList, UrlSource
from amorlip.corpus.records import LISTS, ListRecord, ListsRecord

pc: Any = pyarrow.compute  # it makes its functions when it is imported, where a type checker does not see them
SCHEMA = pa.schema([("sample_id", pa.int64()), ("url", pa.string()), ("caption", pa.string()), ("split", pa.string())])
TIMEOUT_S = 6 * 3600
"""Of the download of a list."""
LEAST_SPEED = 1 << 10
"""Of the download of a list [bytes/s]."""
MOST_LIST_BYTES = 1 << 33
"""Three times CC12M's list. A list is held in memory."""
SAFE = "%/:?#[]@!$&'()*+,;=~"
"""Characters that mean something in an address, and so stay as they are."""
PLAIN = r"[A-Za-z0-9_.\-/:?#@!$&'()*+,;=~]"
AGENT = "amorlip"


def write_urls(source: UrlSource, output: Path) -> None:
    """Fetch the lists of `source` and write the table `output` (urls.parquet).

    Columns: sample_id int64 (the row number, unique over both splits), url, caption, split (`train`|`validation`).
    Files below the working directory have the address `file:path/from/there`, so shards made of them name no folder
    of this machine.
    Without a validation list, `validation_fraction` of the addresses is set aside by a hash of the address, so that
    equal addresses stay together. Checksums of the lists are written to lists.json. Raises AmorlipError if a list
    cannot be downloaded, is not such a list, or not the one that is pinned.
    """
    private = source.allow_private_addresses
    (output.parent / LISTS).unlink(missing_ok=True)
    records: dict[Literal["train", "validation"], ListRecord] = {}
    train, records["train"] = _fetch(source.train, private)
    if source.validation is not None:
        validation, records["validation"] = _fetch(source.validation, private)
        splits = ["train"] * len(train) + ["validation"] * len(validation)
        rows = pa.concat_tables([train, validation])
    else:
        fraction, rows = source.validation_fraction, train
        aside = (fraction > 0 and unit("validation", url.as_py()) < fraction for url in train["url"])
        splits = ["validation" if held_out else "train" for held_out in aside]
    write_table(rows["url"], rows["caption"], pa.array(splits, pa.string()), output)
    ListsRecord(lists=records).write(output.parent / LISTS)


def write_table(url: pa.ChunkedArray, caption: pa.ChunkedArray, split: pa.Array, output: Path) -> None:
    """Number the rows and write them as urls.parquet."""
    sample_id = pa.array(range(len(url)), pa.int64())
    with atomic_path(output) as temporary:
        pq.write_table(pa.table([sample_id, url, caption, split], schema=SCHEMA), temporary)


def _fetch(source: UrlList, private: bool) -> tuple[pa.Table, ListRecord]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.tsv"
        _save(source.url, path, private)
        record = ListRecord(url=source.url, sha256=sha256(path))
        if source.sha256 not in (None, record.sha256):
            raise AmorlipError(
                f"the list {source.url} has the checksum {record.sha256}, but {source.sha256} is pinned; to accept it,"
                " delete its key sha256"
            )
        return _usable(source, _read(source, path)), record


def _save(url: str, path: Path, private: bool) -> None:
    """Save what `url` (http, https, file) holds.

    Raises AmorlipError if it is missing, incomplete, a web page, too large or too slow, or would fill the disk.
    """
    opener = web.opener(most_bytes=MOST_LIST_BYTES, private=private, files=True, least_speed=LEAST_SPEED)
    request = urllib.request.Request(_encoded(url), headers={"User-Agent": AGENT})
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
            while part := answer.read(1 << 20):
                check_room(path.parent, len(part), f"the list {url}")
                file.write(part)
            missing = getattr(answer, "length", None) or 0
    except (OSError, ValueError, http.client.HTTPException) as error:
        is_private = isinstance(getattr(error, "reason", error), PrivateAddress)
        advice = "set urls.allow_private_addresses" if is_private else "check the address (key urls) and the network"
        raise AmorlipError(f"the list {url} cannot be downloaded: {one_line(error)}; {advice}") from error
    if missing:
        size = path.stat().st_size
        raise AmorlipError(f"the list {url} is incomplete: {size} of {size + missing} bytes arrived; retry")
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise AmorlipError(
            f"{url} holds a web page, not a tab-separated list; it may require a login or have moved: download the"
            " list by hand and give its file:// address"
        )


def _check_text(source: UrlList, path: Path) -> None:
    """Arrow prints a traceback for a line that it skips and cannot decode."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 22):
                decoder.decode(part)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise AmorlipError(f"the list {source.url} is not tab-separated UTF-8 text: {one_line(error)}") from error


def _read(source: UrlList, path: Path) -> pa.Table:
    _check_text(source, path)
    skipped = []

    def skip(row: csv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    try:
        rows = csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=source.columns),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(
                column_types={"url": pa.string(), "caption": pa.string()}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise AmorlipError(f"the list {source.url} is not tab-separated UTF-8 text: {one_line(error)}") from error
    if skipped:
        print(f"{source.url}: {len(skipped)} lines without exactly two columns left out")
    return rows


def _usable(source: UrlList, rows: pa.Table) -> pa.Table:
    """The rows with an address and a caption. Raises AmorlipError if most have none: the columns are swapped."""
    urls = from_working_directory(percent_encoded(rows["url"]))
    rows = rows.set_column(rows.column_names.index("url"), "url", urls)
    # A list from the internet must not name files of this machine.
    schemes = "https?://|file:" if source.is_local else "https?://"
    address = pc.match_substring_regex(urls, rf"^({schemes})")
    captions = pc.utf8_length(pc.utf8_trim_whitespace(rows["caption"]))
    good = rows.filter(pc.and_(address, pc.greater(captions, 0)))
    if 2 * len(good) < len(rows) or not len(good):
        raise AmorlipError(
            f"the list {source.url}: {len(good)} of {len(rows)} lines hold an address and a caption; check the order"
            f" of its `columns`, now {', '.join(source.columns)}"
        )
    if len(good) < len(rows):
        print(f"{source.url}: {len(rows) - len(good)} lines without address or caption left out")
    return good.select(["url", "caption"])


def percent_encoded(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    """Addresses as browsers request them: without surrounding blanks, everything but `SAFE` percent-encoded."""
    # By chunk, and one chunk in the end, since a list of ten million as Python's objects needs several GB.
    return pa.chunked_array(
        [pa.concat_arrays([_encoded_chunk(chunk) for chunk in urls.chunks])] if urls.chunks else [], pa.string()
    )


def from_working_directory(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    """Addresses `file:///working/directory/a.png` become `file:a.png`; others stay."""
    here = Path.cwd()
    # Both ways to write some characters: `as_uri` encodes a comma, `_encoded` does not.
    for prefix in {f"{here.as_uri()}/", _encoded(f"file://{here}/")}:
        shorter = pc.binary_replace_slice(urls, 0, len(prefix), "file:")
        urls = pc.if_else(pc.starts_with(urls, prefix), shorter, urls)
    return urls


def _encoded_chunk(urls: pa.Array) -> pa.Array:
    # Nearly all addresses are plain already, and Python needs a minute for ten million.
    plain = pc.match_substring_regex(urls, rf"^(https?|file)://(?:{PLAIN}|%[0-9A-Fa-f]{{2}})+$")
    others = [_encoded(url) for url in urls.filter(pc.invert(plain)).to_pylist()]
    return pc.replace_with_mask(urls, pc.invert(plain), pa.array(others, pa.string()))


def _encoded(url: str) -> str:
    found = re.fullmatch(r"(?:(https?|file)://([^/?#]*)|file:(?!//))(.*)", url.strip(), re.IGNORECASE | re.DOTALL)
    if found is None:
        return url
    scheme, host, rest = found.groups()
    rest = quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", rest), safe=SAFE)
    if scheme is None:
        return f"file:{rest}"
    with suppress(UnicodeError):  # an invalid host fails in the download, where it is counted
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    return f"{scheme.lower()}://{host}{rest}"
