"""Samples of tar shards: where their files lie, read when they are wanted.

A sample is made of neighboring files that share folder and name up to the first dot, as in WebDataset. Plain headers
are parsed here, in a fifth of tarfile's time, which matters beside small images; whatever is not plain (long names,
links) is left to tarfile.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from amorlip.common.errors import AmorlipError, one_line

BLOCK = 512
BUFFER = 1 << 18
END = bytes(BLOCK)


@dataclass(frozen=True)
class Sample:
    """Neighboring files of one name."""

    key: str
    shard: Path
    file: BinaryIO
    """The open shard; it is closed when the last sample is gone."""
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Ending in lower case → first byte and size."""

    @property
    def where(self) -> str:
        """Shard and sample, for messages."""
        return f"{self.shard}: sample '{self.key}'"

    def read(self, ending: str) -> bytes:
        """The content of the file with this ending."""
        offset, size = self.members[ending]
        self.file.seek(offset)
        return self.file.read(size)


def samples(shard: Path) -> Iterator[Sample]:
    """The samples in order. Raises AmorlipError for a shard that is no whole tar file, and for a name given twice."""
    try:
        file = shard.open("rb", buffering=BUFFER)  # closed when the last sample is gone, which may be read later
        sample = None
        for name, offset, size in _files(file, shard.stat().st_size):
            folder, slash, base = name.rpartition("/")
            stem, dot, ending = base.partition(".")
            key, ending = folder + slash + stem, ending.lower()
            if not stem or not dot:
                continue
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = Sample(key, shard, file)
            if ending in sample.members:
                raise tarfile.ReadError(f"{key}.{ending} is a duplicate")
            sample.members[ending] = (offset, size)
        if sample is not None:
            yield sample
    except (OSError, tarfile.TarError) as error:
        raise AmorlipError(
            f"{shard} is not a whole tar file ({one_line(error)}); make or download the set again"
        ) from error


def _files(file: BinaryIO, end: int) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of every regular file."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(BLOCK)
        if header == END:
            return
        if len(header) < BLOCK:
            raise tarfile.ReadError("it has no end mark")
        plain = _plain(header)
        if plain is None:
            yield from _by_tarfile(file, position, end)
            return
        name, size = plain
        position += BLOCK
        _check(name, position + size, end)
        yield name, position, size
        position += -(-size // BLOCK) * BLOCK


def _plain(header: bytes) -> tuple[str, int] | None:
    """Name and size of a regular file whose header holds both as text; None for any other member."""
    if header[156:157] not in (b"0", b"\0") or header[345:346] != b"\0":
        return None
    try:
        name = header[:100].rstrip(b"\0").decode("utf-8")
        size = int(header[124:136].rstrip(b"\0 "), 8)
        checksum = int(header[148:156].rstrip(b"\0 "), 8)
    except ValueError:
        return None
    damaged = checksum != sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return None if damaged or not name or "\0" in name else (name, size)


def _by_tarfile(file: BinaryIO, position: int, end: int) -> Iterator[tuple[str, int, int]]:
    file.seek(position)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            if info.isfile():
                _check(info.name, info.offset_data + info.size, end)
                yield info.name, info.offset_data, info.size
        file.seek(tar.offset)
        if file.read(BLOCK) != END:  # tarfile takes a damaged header and a cut one for the end
            raise tarfile.ReadError("it has no end mark")


def _check(name: str, last: int, end: int) -> None:
    if last > end:
        raise tarfile.ReadError(f"it ends within {name}")
