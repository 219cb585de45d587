"""Samples in tar shards: where their files are, read when they are wanted.

A sample is a run of neighboring files that share folder and name up to the first dot, grouped as WebDataset groups
them. Plain headers are parsed here, in a fifth of tarfile's time, which matters for small images; everything else (long
names, links) is left to tarfile.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import MOST_IMAGE_BYTES, MOST_TEXT_BYTES

BLOCK = 512
"""Bytes; a tar file is made of such blocks and ends with empty ones."""
BUFFER = 1 << 18
END = bytes(BLOCK)
FILE, FOLDER, PAX = b"0", b"5", b"x"
"""Types of members that are parsed here."""
TYPES = {b"0": FILE, b"\0": FILE, b"5": FOLDER, b"x": PAX}
MEANINGFUL = (b"path=", b"size=", b"GNU.sparse", b"hdrcharset=")
"""Records of a pax header that say more than times and owners, which is all that img2dataset's writer puts there."""
NOTES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Types of members that say something about the next one; tarfile reads them whole."""
MOST_FILES = 1000
"""Of one sample."""
MOST_SHOWN = 200
"""Characters of a sample's name in a message; a name may have a million."""
META = re.compile(r"__[^/]*__($|/)")
"""WebDataset's own files about a shard, and folders of them."""


@dataclass(frozen=True)
class Sample:
    """Neighboring files of one name."""

    key: str
    shard: Path
    file: BinaryIO
    """The open shard; it is closed when the last sample is released."""
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Extension in lower case → first byte and size."""

    @property
    def where(self) -> str:
        """Shard and sample, for messages."""
        return f"{self.shard}: sample '{self.key[:MOST_SHOWN]}'"

    def read(self, ending: str, most: int = MOST_IMAGE_BYTES) -> bytes:
        """The content of the file with this extension. Raises AmorlipError if it has more than `most` bytes."""
        offset, size = self.members[ending]
        if size > most:
            raise AmorlipError(f"{self.where}: the file .{ending} has {size} bytes, more than {most}")
        self.file.seek(offset)
        return self.file.read(size)


def samples(shard: Path, advice: str = "make or download the set again") -> Iterator[Sample]:
    """The samples in order; a file whose name its sample already has starts a new sample with the same key.

    Skipped are folders, links, sparse files, files without a stem or extension, WebDataset's `__…__`, and hidden files
    in any folder: WebDataset takes `a/._1.jpg`, as tars made on a Mac hold it, for a file of another sample `a/`,
    which splits the pair 1.

    Raises:
        AmorlipError: for a file that is not a whole tar file; `advice` is the end of the message.
    """
    try:
        file = shard.open("rb", buffering=BUFFER)  # closed when the last sample is released, which may be read later
        sample = None
        for name, offset, size in _files(file, shard.stat().st_size):
            if (parts := _key_and_ending(name)) is None:
                continue
            key, ending = parts
            if sample is None or sample.key != key or ending in sample.members:
                if sample is not None:
                    yield sample
                sample = Sample(key, shard, file)
            sample.members[ending] = (offset, size)
            if len(sample.members) > MOST_FILES:
                raise tarfile.ReadError(f"a sample has more than {MOST_FILES} files")
        if sample is not None:
            yield sample
    except (OSError, tarfile.TarError) as error:
        raise AmorlipError(f"shard {shard} cannot be read ({one_line(error)}); {advice}") from error


def _key_and_ending(name: str) -> tuple[str, str] | None:
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    if not stem or not dot or (name.startswith("__") and META.match(name)):
        return None
    return folder + slash + stem, ending.lower()


def _files(file: BinaryIO, end: int) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of every regular file."""
    position = 0
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if block == END:
            _check_end(file, position)
            return
        if len(block) < BLOCK:
            raise tarfile.ReadError("it has no end mark")
        header = _plain(block)
        if header is None:
            yield from _by_tarfile(file, position, end)
            return
        kind, name, size = header
        if kind == PAX and _is_meaningful(file.read(_note_bytes(size))):
            yield from _by_tarfile(file, position, end)
            return
        position += BLOCK
        _check(name, position, size, end)
        if kind == FILE:
            yield name, position, size
        position += -(-size // BLOCK) * BLOCK


def _plain(block: bytes) -> tuple[bytes, str, int] | None:
    """Type, name and size of a header that holds them as text, if it is of a file, a folder or pax records."""
    kind = TYPES.get(block[156:157])
    if kind is None or block[345:346] != b"\0":
        return None
    try:
        name = block[:100].rstrip(b"\0").decode("utf-8")
        size = int(block[124:136].rstrip(b"\0 "), 8)
        checksum = int(block[148:156].rstrip(b"\0 "), 8)
    except ValueError:
        return None
    # Without its trailing zeros, a third of the header, the sum takes a third less time.
    damaged = checksum != sum(block.rstrip(b"\0")) - sum(block[148:156]) + 8 * ord(" ")
    return None if damaged or not name or "\0" in name else (kind, name, size)


def _note_bytes(size: int) -> int:
    if size > MOST_TEXT_BYTES:
        raise tarfile.ReadError(f"a header has records of {size} bytes, more than {MOST_TEXT_BYTES}")
    return size


def _is_meaningful(records: bytes) -> bool:
    return any(word in records for word in MEANINGFUL)


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:  # tarfile would go back to what it has read, for ever
            raise tarfile.ReadError("a header has a negative size")
        if info.type in NOTES:
            _note_bytes(info.size)
        return info


def _by_tarfile(file: BinaryIO, position: int, end: int) -> Iterator[tuple[str, int, int]]:
    file.seek(position)
    with _explained(file), tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
        while (info := tar.next()) is not None:
            vars(tar)["members"].clear()  # tarfile keeps a kilobyte for each member
            # A sparse file of a few bytes may stand for terabytes of zeros.
            if info.isfile() and not info.issparse():
                _check(info.name, info.offset_data, info.size, end)
                yield info.name, info.offset_data, info.size
        file.seek(tar.offset)
        block = file.read(BLOCK)
        if len(block) < BLOCK:  # tarfile takes a cut header for the end …
            raise tarfile.ReadError("it has no end mark")
        if block != END:  # … and a damaged one
            raise tarfile.ReadError(f"the header at byte {tar.offset} is damaged")
        _check_end(file, tar.offset)


@contextmanager
def _explained(file: BinaryIO) -> Iterator[None]:
    try:
        yield
    except (OSError, tarfile.TarError):
        raise
    except Exception as error:  # damaged pax records end in errors of many kinds, a chain of them in RecursionError
        raise tarfile.ReadError(f"a header before byte {file.tell()} is damaged: {one_line(error)}") from error


def _check_end(file: BinaryIO, position: int) -> None:
    """A header that was overwritten with zeros looks like the end; the files after it would be lost silently."""
    while data := file.read(BUFFER):
        if data.strip(b"\0"):
            raise tarfile.ReadError(f"the header at byte {position} is empty, but more files follow")


def _check(name: str, start: int, size: int, end: int) -> None:
    if size < 0 or start + size > end:  # a negative size would lead back to what has been read
        raise tarfile.ReadError(f"it ends within {name}")
