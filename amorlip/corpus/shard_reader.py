"""One WebDataset shard, read once: its digest, where each pair's image and caption lie, what is wrong with pairs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from amorlip.common.errors import AmorlipError, one_line

IMAGES = ("jpg", "jpeg", "png", "webp")
KNOWN = {*IMAGES, "txt", "json"}
FORMATS = ("JPEG", "PNG", "WEBP")
"""Nothing else is decoded, whatever a file's name says: Pillow would start other programs for some formats."""
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""End marks; a WebP file that is cut short does not even open."""
NO_ID = -1
LARGEST_ID = 2**62
BLOCK = 512
"""Bytes; a tar file is made of such blocks and ends with empty ones."""
ROW = np.dtype(
    [
        ("sample_id", np.int64),
        ("ordinal", np.int64),
        ("image_offset", np.int64),
        ("image_bytes", np.int32),
        ("caption_offset", np.int64),
        ("caption_bytes", np.int32),
    ]
)
"""A usable pair: its id (NO_ID where the shard has none), its place among the shard's pairs, and two byte ranges."""


@dataclass
class Shard:
    """What reading a shard found."""

    bytes: int
    sha256: str
    found: int
    """Pairs, usable or not."""
    rows: np.ndarray
    """Usable pairs (ROW)."""
    refused: Counter[str]
    """Reason → pairs."""


@dataclass
class _Member:
    offset: int
    data: bytes


@dataclass
class _Sample:
    key: str
    members: dict[str, _Member] = field(default_factory=dict)


class _Refused(Exception):
    """Why a pair cannot be used."""


class _HashedFile:
    """A file that is digested as it is read; all bytes after the first `used` are zero."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file, self.digest, self.bytes, self.used = file, hashlib.sha256(), 0, 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        if used := len(data.rstrip(b"\0")):
            self.used = self.bytes + used
        self.bytes += len(data)
        return data


def read_shard(path: Path) -> Shard:
    """Read the shard at `path` once and check each pair. Raises AmorlipError when it is missing or not a whole tar."""
    rows: list[tuple[int, ...]] = []
    refused: Counter[str] = Counter()
    keys: set[str] = set()
    found = 0
    try:
        with path.open("rb") as raw:
            file = _HashedFile(raw)
            with tarfile.open(fileobj=file, mode="r|", bufsize=1 << 20) as tar:
                for ordinal, sample in enumerate(_samples(tar)):
                    found += 1
                    try:
                        rows.append(_row(sample, ordinal, keys))
                    except _Refused as reason:
                        refused[str(reason)] += 1
            while file.read(1 << 20):
                pass
            # tarfile takes a file that ends inside a header for a whole one, and a damaged header for the end.
            if file.bytes % BLOCK or file.bytes - file.used < BLOCK:
                raise tarfile.ReadError("it has no end mark")
            if file.used > tar.offset:
                raise tarfile.ReadError(f"the header at byte {tar.offset} is damaged")
    except (OSError, tarfile.TarError) as error:
        raise AmorlipError(
            f"shard {path} cannot be read: {one_line(error)}; delete it and {path.parent / 'download.json'}, and run"
            " again"
        ) from error
    return Shard(file.bytes, file.digest.hexdigest(), found, np.array(rows, dtype=ROW), refused)


def _samples(tar: tarfile.TarFile) -> Iterator[_Sample]:
    """Neighboring members that share the name before its first dot, as WebDataset groups them, one of each ending."""
    sample = None
    for info in tar:
        if not info.isfile() or info.issparse():  # a sparse file of a few bytes may stand for terabytes
            continue
        folder, _, name = info.name.rpartition("/")
        stem, _, ending = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if sample is None or sample.key != key or ending.lower() in sample.members:
            if sample is not None:
                yield sample
            sample = _Sample(key)
        sample.members[ending.lower()] = _Member(info.offset_data, tar.extractfile(info).read())
    if sample is not None:
        yield sample


def _row(sample: _Sample, ordinal: int, keys: set[str]) -> tuple[int, ...]:
    if sample.key in keys:
        raise _Refused("duplicate key")
    keys.add(sample.key)
    if unknown := sorted(set(sample.members) - KNOWN):
        raise _Refused(f"unknown file type .{unknown[0]}")
    images = [sample.members[ending] for ending in IMAGES if ending in sample.members]
    if len(images) != 1:
        raise _Refused("no image" if not images else "several images")
    caption = sample.members.get("txt")
    _check_caption(caption)
    _check_image(images[0].data)
    image = images[0]
    return (_sample_id(sample), ordinal, image.offset, len(image.data), caption.offset, len(caption.data))


def _sample_id(sample: _Sample) -> int:
    if "json" not in sample.members:
        return NO_ID
    try:
        value = json.loads(sample.members["json"].data).get("sample_id", NO_ID)
    except (ValueError, AttributeError, RecursionError) as error:
        raise _Refused("broken json") from error
    if type(value) is not int or not NO_ID <= value <= LARGEST_ID:
        raise _Refused("sample_id is not a natural number")
    return value


def _check_caption(caption: _Member | None) -> None:
    try:
        text = "" if caption is None else caption.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refused("caption is not UTF-8") from error
    if not text.strip():
        raise _Refused("no caption")


def _check_image(data: bytes) -> None:
    """Decode the image once, a JPEG at an eighth of its size: what passes here does not stop training."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Refused("image has too many pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise _Refused("not an image") from error
    if ENDS.get(image.format, b"") not in data[-1024:]:
        raise _Refused("image is cut short")
    try:
        image.draft("RGB", (1, 1))
        image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise _Refused("image cannot be decoded") from error
