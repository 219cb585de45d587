"""Files of strangers, changed at random: each is read, or refused in one line, without a traceback or a hang."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from amorlip.common.errors import AmorlipError
from amorlip.common.images import EVALUATION_FORMATS, BadImage, rgb_pixels
from amorlip.common.tars import samples
from amorlip.config.benchmark import TaskContent
from amorlip.config.corpus import UrlSource
from amorlip.config.locations import read_layer
from amorlip.corpus.addresses import Addresses
from amorlip.corpus.records import DownloadRecord, ListsRecord, Manifest
from amorlip.corpus.shard_reader import read_shard
from amorlip.corpus.urls import write_table, write_urls
from amorlip.evaluation.record import Evaluation
from amorlip.tasks import pack
from amorlip.tasks.folder import FolderState
from amorlip.tasks.read import open_association, open_classification, open_retrieval
from amorlip.tasks.record import TaskRecord
from amorlip.training import records
from amorlip.training.records import Provenance
from tests.helpers import REPOSITORY
from tests.helpers.bounds import bounded
from tests.helpers.miniatures import pair, picture

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("AMORLIP_FUZZ", "150"))
FUZZ = settings(
    deadline=20_000, derandomize=True, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
"""No example may take longer than 20 s, on a machine that does other things as well."""

pieces = st.binary(max_size=16) | st.sampled_from(
    [
        b"\0" * 512,
        b"\xff" * 8,
        b"9" * 11,
        b"-1",
        b"\x80" + bytes(11),
        b"x",
        b"L",
        b"S",
        b"g",
        b"[" * 200,
        b"PK\5\6",
        b"\n",
    ]
)
edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 600), pieces), max_size=5)
"""Place in the file, how many bytes are removed there, and what takes their place."""


def edited(data: bytes, changes: list[tuple[float, int, bytes]], *, keep_length: bool = False) -> bytes:
    for place, removed, new in changes:
        start = int(place * len(data))
        removed = len(new) if keep_length else removed
        data = data[:start] + new + data[start + removed :]
    return data


def read_or_refused(call: Callable[[], object]) -> None:
    """`call` ends, or raises AmorlipError with one line, within 300 MiB."""
    try:
        with bounded(mib=300):
            call()
    except AmorlipError as error:
        assert str(error) and "\n" not in str(error) and len(str(error)) < 2000
        event("refused")
    else:
        event("read")


def tar_of(form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for number in range(3):
            for ending, data in {**pair(number), "cls": b"1", "npy": npy()}.items():
                info = tarfile.TarInfo(f"{'long/' * 25 if number == 1 else ''}{number}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([1, 2]))
    return file.getvalue()


TARS = {form: tar_of(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)}


def with_checksums(data: bytes) -> bytes:
    """With the checksum of every block that may be a header put right: else nearly all changes are refused by it."""
    blocks = bytearray(data)
    for start in range(0, len(blocks) - 511, 512):
        if blocks[start + 257 : start + 262] == b"ustar":
            blocks[start + 148 : start + 156] = b" " * 8
            blocks[start + 148 : start + 156] = b"%06o\0 " % sum(blocks[start : start + 512])
    return bytes(blocks)


@given(st.sampled_from(sorted(TARS)), edits, st.booleans(), st.booleans())
@FUZZ
def test_tars(form, changes, right_checksums, keep_length):
    data = edited(TARS[form], changes, keep_length=keep_length)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test" / "0.tar"
        path.parent.mkdir()
        path.write_bytes(with_checksums(data) if right_checksums else data)
        (path.parent / "nshards.txt").write_text("1")
        (Path(folder) / "classnames.txt").write_text("a\nb\n")
        (Path(folder) / "zeroshot_classification_templates.txt").write_text("{c}\n")
        content = TaskContent(kind="classification_grouped", metadata=["x", "y"])
        read_or_refused(lambda: list(samples(path)))
        read_or_refused(lambda: read_shard(path))
        read_or_refused(lambda: list(open_classification(Path(folder), content).records()))
        read_or_refused(lambda: open_retrieval(Path(folder)))


def zip_of(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number in range(3):
            archive.writestr(f"pictures/{number}.png", picture(number) * 3)
    return file.getvalue()


ZIPS = {method: zip_of(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)}
TABLE = "filename,raw\n" + "".join(f'{number}.png,"[""a"", ""b""]"\n' for number in range(3))
ROUNDS = "cue,candidates,associations\n" + "".join(f"c{n},\"['0', '1', '2']\",\"['{n}']\"\n" for n in range(3))


@given(st.sampled_from(sorted(ZIPS)), edits, st.booleans(), st.sampled_from([TABLE, ROUNDS]), edits)
@FUZZ
def test_archives_and_tables(method, changes, keep_length, table, changed_rows):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images.zip").write_bytes(edited(ZIPS[method], changes, keep_length=keep_length))
        (Path(folder) / "table.csv").write_bytes(edited(table.encode(), changed_rows))

        def read() -> None:
            pack.pack(Path(folder), Path(folder))
            (open_association if table is ROUNDS else open_retrieval)(Path(folder))

        read_or_refused(read)


LIST = "".join(f"http://host/{n}.png\ta caption {n}\n" for n in range(20)).encode()


@given(edits | st.just([(0.0, 10**6, b"")]), st.binary(max_size=200))
@FUZZ
def test_lists(changes, more):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.tsv"
        path.write_bytes(edited(LIST, changes) + more)
        source = UrlSource.model_validate({"train": {"url": path.as_uri(), "columns": ["url", "caption"]}})
        read_or_refused(lambda: write_urls(source, Path(folder) / "urls.parquet"))


def parquet() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "urls.parquet"
        texts = pa.chunked_array([[f"http://host/{n}.png" for n in range(20)]])
        write_table(texts, texts, pa.array(["train", "validation"] * 10), path)
        return path.read_bytes()


URLS = parquet()


@given(edits, st.booleans())
@FUZZ
def test_tables_of_addresses(changes, keep_length):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "urls.parquet"
        path.write_bytes(edited(URLS, changes, keep_length=keep_length))

        def read() -> None:
            listed = Addresses(path, "train", 5)
            listed.write_lists({0: 0, 1: 1}, np.ones(len(listed.ids), bool), Path(folder) / "lists")

        read_or_refused(read)


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


IMAGES = {kind: encoded(kind) for kind in (*EVALUATION_FORMATS, "TIFF", "PPM", "ICO", "TGA")}


@given(st.sampled_from(sorted(IMAGES)), edits, st.booleans())
@FUZZ
def test_images(kind, changes, keep_length):
    try:
        with bounded(mib=1500):  # an image of the most pixels has 256 MiB, and is copied
            pixels = rgb_pixels(edited(IMAGES[kind], changes, keep_length=keep_length), EVALUATION_FORMATS)
    except BadImage:
        event("refused")
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
        event("read")


numbers = st.integers() | st.floats() | st.sampled_from([2**63, 10**400, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
RECORDS = [Manifest, DownloadRecord, ListsRecord, TaskRecord, FolderState, Evaluation, Provenance]


@given(st.sampled_from(RECORDS), st.data(), edits)
@FUZZ
def test_json_records(record, data, changes):
    keys = [field.alias or name for name, field in record.model_fields.items()]
    value = data.draw(values | st.fixed_dictionaries(dict.fromkeys(keys, values)))
    text = edited(json.dumps(value).encode(), changes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        path.write_bytes(text)
        read_or_refused(lambda: record.read(path))
        path.write_bytes(text + b"\n")
        read_or_refused(lambda: records.read(path))
        read_or_refused(lambda: records.read_unfinished(path))


FILES = [path.read_bytes() for path in sorted((REPOSITORY / "config").rglob("*.yaml")) if path.stat().st_size < 2000]
SIGNS = (  # noqa: SIM905
    "- |? |: |\n|  |[|]|{|}|,|&a |*a|<<: |!!int |!!set |'|\"|>|#|%|a|1|0x|1:1|.5|~|2001-01-01|\t|---\n|...\n|!|é"
).split("|")
signs = st.lists(st.sampled_from([*SIGNS, "|"]), max_size=40).map(lambda parts: "".join(parts).encode())
changed_files = st.tuples(st.sampled_from(FILES), edits).map(lambda both: edited(*both))


@given(changed_files | signs)
@FUZZ
def test_yaml(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        path.write_bytes(text)
        read_or_refused(lambda: read_layer(path))


def test_the_unchanged_files_are_read():
    """Else all would be refused, and nothing tested."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.tar"
        for data in TARS.values():
            path.write_bytes(data)
            assert len(read_shard(path).rows) == 3
        assert yaml.safe_load(FILES[0])
        path.write_bytes(URLS)
        assert len(Addresses(path, "train", 5).ids) == 10
        (Path(folder) / "images.zip").write_bytes(ZIPS[zipfile.ZIP_DEFLATED])
        (Path(folder) / "table.csv").write_text(ROUNDS)
        pack.pack(Path(folder), Path(folder))
        assert len(open_association(Path(folder)).rounds) == 3
