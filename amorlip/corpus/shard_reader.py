"""One WebDataset shard: its checksum, where the image and caption of each pair are, and what is wrong with pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amorlip.common.files import sha256
from amorlip.common.images import BadImage
from amorlip.common.limits import MOST_IMAGE_BYTES, MOST_TEXT_BYTES, parse_json
from amorlip.common.tars import Sample, samples
from amorlip.corpus.image_check import check_image

IMAGES = ("jpg", "jpeg", "png", "webp")
KNOWN = {*IMAGES, "txt"}
NO_ID = -1
LARGEST_ID = 2**62
ADVICE = "delete it and the download.json next to it, and run again"
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
    ignored: Counter[str]
    """Ending → files of samples that have neither image nor caption, such as README.md."""


class _Refused(Exception):
    """Why a pair cannot be used."""


def read_shard(path: Path) -> Shard:
    """Read the shard at `path` and check each pair. Raises AmorlipError when it is missing or not a whole tar file."""
    rows: list[tuple[int, ...]] = []
    refused: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    keys: set[str] = set()
    found = 0
    for sample in samples(path, ADVICE):
        if not sample.members.keys() & KNOWN:
            ignored.update(list(sample.members))
            continue
        try:
            rows.append(_row(sample, found, keys))
        except _Refused as reason:
            refused[str(reason)] += 1
        found += 1
    return Shard(path.stat().st_size, sha256(path), found, np.array(rows, dtype=ROW), refused, ignored)


def _row(sample: Sample, ordinal: int, keys: set[str]) -> tuple[int, ...]:
    if sample.key in keys:
        raise _Refused("duplicate key")
    keys.add(sample.key)
    images = [ending for ending in IMAGES if ending in sample.members]
    if len(images) != 1:
        raise _Refused("no image" if not images else "several images")
    _check_caption(sample)
    _check_size(sample, images[0], MOST_IMAGE_BYTES, "image file is too large")
    try:
        check_image(sample.read(images[0]))
    except BadImage as error:
        raise _Refused(error.reason) from error
    return (_sample_id(sample), ordinal, *sample.members[images[0]], *sample.members["txt"])


def _sample_id(sample: Sample) -> int:
    if "json" not in sample.members:
        return NO_ID
    _check_size(sample, "json", MOST_TEXT_BYTES, "json is too large")
    try:
        value = parse_json(sample.read("json")).get("sample_id", NO_ID)
    except (ValueError, AttributeError) as error:
        raise _Refused("broken json") from error
    if type(value) is not int or not NO_ID <= value <= LARGEST_ID:
        raise _Refused("sample_id is not a natural number")
    return value


def _check_size(sample: Sample, ending: str, most: int, reason: str) -> None:
    if sample.members[ending][1] > most:
        raise _Refused(reason)


def _check_caption(sample: Sample) -> None:
    if "txt" not in sample.members:
        raise _Refused("no caption")
    _check_size(sample, "txt", MOST_TEXT_BYTES, "caption is too long")
    try:
        text = sample.read("txt").decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refused("caption is not UTF-8") from error
    if not text.strip():
        raise _Refused("no caption")
