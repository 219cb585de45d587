"""The copy of an index that all processes of a machine map into memory."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.common.files import sha256
from amorlip.corpus.manifest import INDEX, INDEX_SCHEMA, read_manifest
from amorlip.loader import index as indices
from amorlip.loader.index import COPY, COPY_RECORD, open_index, prepare_index, read_index
from tests.helpers.miniatures import write_split

SHARDS = [[5, 3, 20], [1, 9, 2], [4]]


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_split(tmp_path / "train", SHARDS)


def prepare(folder: Path) -> indices.Index:
    manifest = read_manifest(folder)
    prepare_index(folder, manifest)
    return open_index(folder, manifest)


def same(index: indices.Index, rows: np.ndarray) -> bool:
    return all(np.array_equal(getattr(index, name), rows[name]) for name in INDEX_SCHEMA.names)


def is_mapped(column: np.ndarray) -> bool:
    return not column.flags.owndata and not column.flags.writeable


def test_the_copy_holds_the_index(folder):
    found = prepare(folder)
    assert (folder / COPY).is_file() and is_mapped(found.image_offset)
    assert same(found, read_index(folder, read_manifest(folder)))
    assert found.sample_id[found.by_id].tolist() == [1, 2, 3, 4, 5, 9, 20]
    assert found.first_rows(3).tolist() == [0, 3, 6, 7] and len(found) == 7


def test_rows_that_are_in_the_order_of_ids_need_no_list_of_it(tmp_path):
    assert prepare(write_split(tmp_path, [[1, 2], [3, 5]])).by_id is None


def test_many_row_groups(folder):
    """A large index is copied in parts."""
    whole = read_index(folder, read_manifest(folder))
    pq.write_table(pq.read_table(folder / INDEX), folder / INDEX, row_group_size=2)
    manifest = read_manifest(folder).model_copy(update={"index_sha256": sha256(folder / INDEX)})
    prepare_index(folder, manifest)
    assert same(open_index(folder, manifest), whole)


def test_it_is_made_once(folder, monkeypatch):
    prepare(folder)
    monkeypatch.setattr(indices, "_write_copy", lambda *_: pytest.fail("it was made twice"))
    prepare(folder)


@pytest.mark.parametrize("place", [10, 400, -500])
def test_a_damaged_copy_is_made_again(folder, place):
    whole = read_index(folder, read_manifest(folder))
    prepare(folder)
    data = bytearray((folder / COPY).read_bytes())
    data[place] ^= 4
    (folder / COPY).write_bytes(data)
    assert same(prepare(folder), whole)


def test_the_copy_of_another_index_is_made_again(folder, tmp_path):
    other = write_split(tmp_path / "other", [[7, 8, 6, 5], [1, 2, 3]])
    prepare(other)
    for name in (COPY, COPY_RECORD):
        shutil.copy(other / name, folder / name)
    assert prepare(folder).sample_id.tolist() == [3, 5, 20, 1, 2, 9, 4]


def test_a_damaged_index_is_refused_though_there_is_a_copy(folder):
    prepare(folder)
    data = bytearray((folder / INDEX).read_bytes())
    data[50] ^= 4
    (folder / INDEX).write_bytes(data)
    with pytest.raises(AmorlipError, match=r"index\.parquet cannot be read: it does not match its checksum"):
        prepare(folder)


def test_where_no_copy_can_be_written_the_index_is_read(folder, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="amorlip")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(indices, "_write_copy", full)
    found = prepare(folder)
    assert not (folder / COPY).exists() and "No space left on device" in caplog.text
    assert same(found, read_index(folder, read_manifest(folder)))
    assert found.sample_id[found.by_id].tolist() == [1, 2, 3, 4, 5, 9, 20]
