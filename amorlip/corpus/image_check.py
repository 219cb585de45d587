"""Whether an image of a shard is whole and can be decoded in training."""

from __future__ import annotations

import re

from amorlip.common.images import BadImage, open_image, to_rgb

CUT_SHORT = "image is cut short"
MARKER = re.compile(rb"\xff+([^\x00\xff])")
"""A JPEG marker: one or more bytes 0xFF, and a type. 0xFF 0x00 is a byte of the compressed data."""
END = b"\xd9"
WITHOUT_LENGTH = {b"\x01", *(bytes([number]) for number in range(0xD0, 0xD9))}
"""Markers without a length after them: TEM, restarts, and the start of the image."""
PNG_SIGNATURE_BYTES, PNG_CHUNK_BYTES = 8, 12
"""A PNG chunk has 12 bytes around its data: length, type, and checksum."""


def check_image(data: bytes) -> None:
    """Decode the image once, a JPEG at an eighth of its size: what passes here does not stop training.

    Bytes after the image's end are allowed: phones put previews, depth maps or videos there. Raises BadImage.
    """
    image = open_image(data)
    # Pillow's PNG decoder accepts a file without its last chunks, and which cut JPEGs pass depends on its version.
    if (image.format == "JPEG" and not _has_jpeg_end(data)) or (image.format == "PNG" and not _has_png_end(data)):
        raise BadImage(CUT_SHORT)
    image.draft("RGB", (1, 1))
    to_rgb(image)


def _has_jpeg_end(data: bytes) -> bool:
    """Walk from marker to marker: the previews in the header have end marks of their own."""
    position = 2
    while found := MARKER.search(data, position):
        marker, position = found[1], found.end()
        if marker == END:
            return True
        if marker not in WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    return False


def _has_png_end(data: bytes) -> bool:
    position = PNG_SIGNATURE_BYTES
    while position + PNG_CHUNK_BYTES <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        position += PNG_CHUNK_BYTES + length
        if kind == b"IEND":
            return position <= len(data)
    return False
