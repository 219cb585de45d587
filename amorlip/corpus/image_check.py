"""Whether an image of a shard is whole and can be decoded in training."""

from __future__ import annotations

from amorlip.common import jpeg
from amorlip.common.images import BadImage, open_image, to_rgb

CUT_SHORT = "image is cut short"
PNG_SIGNATURE_BYTES, PNG_CHUNK_BYTES = 8, 12
"""A PNG chunk has 12 bytes around its data: length, type, and checksum."""


def check_image(data: bytes) -> None:
    """Decode the image once, a JPEG at an eighth of its size: what passes here does not stop training.

    Bytes after the image's end are allowed: phones put previews, depth maps or videos there. Raises BadImage.
    """
    image = open_image(data)
    # Pillow's PNG decoder accepts a file without its last chunks, and which cut JPEGs pass depends on its version.
    if (image.format == "JPEG" and not jpeg.has_end(data)) or (image.format == "PNG" and not _has_png_end(data)):
        raise BadImage(CUT_SHORT)
    image.draft("RGB", (1, 1))
    to_rgb(image)


def _has_png_end(data: bytes) -> bool:
    position = PNG_SIGNATURE_BYTES
    while position + PNG_CHUNK_BYTES <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        position += PNG_CHUNK_BYTES + length
        if kind == b"IEND":
            return position <= len(data)
    return False
