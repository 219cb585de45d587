"""The markers of a JPEG file: where it ends, and how often its pixels are gone over."""

from __future__ import annotations

import re
from collections.abc import Iterator

MARKER = re.compile(rb"\xff+([^\x00\xff])")
"""One or more bytes 0xFF, and a type. 0xFF 0x00 is a byte of the compressed data."""
START, SCAN, END = b"\xff\xd8", b"\xda", b"\xd9"
WITHOUT_LENGTH = {b"\x01", *(bytes([number]) for number in range(0xD0, 0xD9))}
"""Markers without a length after them: TEM, restarts, and the start of the image."""
SEQUENTIAL = {b"\xc0", b"\xc1", b"\xc9"}
"""Markers of the frame of an image that is not progressive."""
MOST_SCANS = 64
"""Programs write 1 to some 20. Each costs as much as decoding the image once, and can take a few bytes."""


def has_end(data: bytes) -> bool:
    """Whether the image has its end mark: the previews in the header have marks of their own."""
    return END in _markers(data)


def has_too_many_scans(data: bytes) -> bool:
    """Whether a file is a JPEG with more than MOST_SCANS passes over its pixels."""
    # The last is exact but slow, the first takes a fiftieth of decoding a small image, and most files need no more.
    if data[:2] != START or _has_one_scan(data) or data.count(b"\xff" + SCAN) <= MOST_SCANS:
        return False
    return sum(marker == SCAN for marker in _markers(data)) > MOST_SCANS


def _has_one_scan(data: bytes) -> bool:
    """Whether the first scan holds all components of an image that is not progressive: decoders take no other then."""
    components, position = b"", 2
    while found := MARKER.search(data, position):
        marker, position = found[1], found.end()
        if marker == SCAN:
            return components == data[position + 2 : position + 3] != b""
        if marker in SEQUENTIAL:
            components = data[position + 7 : position + 8]
        position += 0 if marker in WITHOUT_LENGTH else int.from_bytes(data[position : position + 2], "big")
    return False


def _markers(data: bytes) -> Iterator[bytes]:
    """The types of the markers in their order, up to the image's end."""
    position = 2
    while found := MARKER.search(data, position):
        marker, position = found[1], found.end()
        yield marker
        if marker == END:
            return
        if marker not in WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
