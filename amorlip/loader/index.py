"""The index of a split: checked, and mapped from one file that all processes of a machine share.

index.parquet is compressed, so reading it would need memory in every rank. One process of a machine makes a copy in
Arrow's format, index.arrow, which takes the page cache only, whatever number of processes uses it.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.files import atomic_path, sha256
from amorlip.common.parquet import damaged
from amorlip.common.records import JsonRecord
from amorlip.corpus.manifest import INDEX, INDEX_SCHEMA
from amorlip.corpus.records import MANIFEST, Manifest

logger = logging.getLogger(__name__)

COPY = "index.arrow"
COPY_RECORD = "index.arrow.json"
BY_ID = "by_id"
"""A column of the copy: the rows in the order of their sample ids. It is left out where they are in that order."""
PAIR = "pair"
"""The column of the copy that holds a pair's numbers (ROW)."""
ROW = np.dtype([(field.name, field.type.to_pandas_dtype()) for field in INDEX_SCHEMA])
"""36 bytes."""
PART = 2**20
"""Rows that are looked at together."""


class CopyRecord(JsonRecord):
    """index.arrow.json: what index.arrow is a copy of."""

    index_sha256: str
    """Checksum of index.parquet."""
    sha256: str
    """Checksum of index.arrow."""


@dataclass(frozen=True)
class Index:
    """The pairs of a split, a row each, in the order of the shards and of sample ids within a shard."""

    sample_id: np.ndarray
    shard: np.ndarray
    image_offset: np.ndarray
    image_bytes: np.ndarray
    caption_offset: np.ndarray
    caption_bytes: np.ndarray
    by_id: np.ndarray | None
    """The rows in the order of their sample ids; None where that is their order."""

    def __len__(self) -> int:
        return len(self.sample_id)

    def first_rows(self, shards: int) -> np.ndarray:
        """The first row of each of `shards` shards, and the number of rows at the end.

        A binary search for all of them at once: NumPy's copies a column whose numbers do not lie next to each other.
        """
        wanted = np.arange(shards + 1)
        low, high = np.zeros_like(wanted), np.full_like(wanted, len(self))
        while (unknown := low < high).any():
            middle = (low + high) // 2
            after = unknown & (self.shard[np.minimum(middle, len(self) - 1)] < wanted)
            low = np.where(after, middle + 1, low)
            high = np.where(unknown & ~after, middle, high)
        return low


def read_index(folder: Path, manifest: Manifest) -> np.ndarray:
    """The index of a split as a structured array of pairs. Raises AmorlipError if it does not match the manifest."""
    with _checked(folder, manifest) as (file, _):
        table = file.read()
    columns = {name: table[name].to_numpy() for name in table.column_names}
    index = np.empty(len(table), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        index[name] = column
    return index


def prepare_index(folder: Path, manifest: Manifest) -> None:
    """Check the index, and make its copy unless it is there, as far as the folder can be written to.

    One process of a machine does it for all. Raises AmorlipError if the index does not match the manifest.
    """
    with _checked(folder, manifest) as (file, digest):
        if _copied_from(folder, digest, compare=True):
            return
        logger.info("copying the index of %d pairs to %s", manifest.samples, folder / COPY)
        try:
            with atomic_path(folder / COPY) as temporary:
                _write_copy(file, temporary)
                record = CopyRecord(index_sha256=digest, sha256=sha256(temporary))
            record.write(folder / COPY_RECORD)
        except OSError as error:
            logger.info("%s cannot be written (%s); every rank reads the index", folder / COPY, one_line(error))


def open_index(folder: Path, manifest: Manifest) -> Index:
    """The index that `prepare_index` checked, from its copy, or in memory where there is none."""
    if _copied_from(folder, manifest.index_sha256, compare=False):
        try:
            return _mapped(folder / COPY)
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise AmorlipError(f"{folder / COPY} cannot be read: {one_line(error)}; delete it and run again") from error
    rows = read_index(folder, manifest)
    return Index(*(rows[name] for name in INDEX_SCHEMA.names), by_id=_by_id(rows["sample_id"]))


@contextmanager
def _checked(folder: Path, manifest: Manifest) -> Iterator[tuple[pq.ParquetFile, str]]:
    """The opened index and its checksum. Raises AmorlipError if it does not match the manifest, or is damaged."""
    path = folder / INDEX
    advice = f"delete it and {folder / MANIFEST}, and run again"
    with damaged(path, advice), path.open("rb") as file:
        # Arrow reads the file that was opened here, so its bytes are those of the checksum.
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if manifest.index_sha256 not in (None, digest):
            raise ValueError(f"it does not match its checksum in {MANIFEST}")
        index = pq.ParquetFile(file, page_checksum_verification=True)
        if not index.schema_arrow.equals(INDEX_SCHEMA):
            raise AmorlipError(f"{path} has other columns than {', '.join(INDEX_SCHEMA.names)}; {advice}")
        if (rows := index.metadata.num_rows) != manifest.samples:
            raise AmorlipError(f"{path} holds {rows} pairs, the manifest {manifest.samples}; {advice}")
        yield index, digest


def _copied_from(folder: Path, digest: str | None, *, compare: bool) -> bool:
    """Whether there is a copy of the index with this checksum (None: of any); `compare`: with its own checksum."""
    try:
        record = CopyRecord.read(folder / COPY_RECORD)
        return (
            digest in (None, record.index_sha256)
            and (folder / COPY).is_file()
            and (not compare or sha256(folder / COPY) == record.sha256)
        )
    except (AmorlipError, OSError):
        return False


def _write_copy(index: pq.ParquetFile, path: Path) -> None:
    """By parts, through a file without a name: a thousand million pairs take 36 GB."""
    count = index.metadata.num_rows
    with tempfile.TemporaryFile(dir=path.parent) as scratch:
        rows = np.memmap(scratch, ROW, "r+", shape=max(count, 1))[:count]
        start = 0
        for part in index.iter_batches():
            for name in INDEX_SCHEMA.names:
                rows[name][start : start + len(part)] = part.column(name).to_numpy()
            start += len(part)
        with pa.OSFile(str(path), "wb") as sink:
            write_rows(rows, _by_id(rows["sample_id"]), sink)


def write_rows(rows: np.ndarray, by_id: np.ndarray | None, sink: pa.NativeFile) -> None:
    """Write `rows` (ROW) in the copy's format: a pair's numbers lie next to each other, in one page of memory."""
    kind = pa.binary(ROW.itemsize)
    columns: dict[str, pa.Array] = {PAIR: pa.Array.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])}
    if by_id is not None:
        columns[BY_ID] = pa.array(by_id)
    batch = pa.record_batch(columns)
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _by_id(ids: np.ndarray) -> np.ndarray | None:
    if all(np.all(np.diff(ids[start : start + PART + 1]) >= 0) for start in range(0, len(ids), PART)):
        return None
    return np.argsort(ids, kind="stable")


def _mapped(path: Path) -> Index:
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    memory.madvise(mmap.MADV_RANDOM)  # reading what is around a row would be in vain
    batch = pa.ipc.open_file(pa.py_buffer(memory)).get_batch(0)
    rows = np.frombuffer(batch.column(PAIR).buffers()[1], ROW, len(batch))
    by_id = batch.column(BY_ID).to_numpy() if BY_ID in batch.schema.names else None
    return Index(*(rows[name] for name in INDEX_SCHEMA.names), by_id=by_id)
