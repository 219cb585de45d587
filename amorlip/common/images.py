"""Opening images that others made: which formats, how large, and how every pixel format becomes 8-bit RGB.

Every image from outside passes here: in shards, in the loader, in evaluation and in the demo's artwork. Which pixel
format gives which picture is listed in docs/image-formats.md.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from amorlip.common.errors import lacks_memory, one_line
from amorlip.common.jpeg import has_too_many_scans
from amorlip.common.transparency import Transparency

FORMATS = ("JPEG", "PNG", "WEBP")
"""Formats of training images. Pillow recognizes content, not a file's name, and starts other programs for some formats
(Ghostscript for EPS), so nothing else is opened."""
EVALUATION_FORMATS = (*FORMATS, "GIF", "BMP")
"""SUN397 has GIF and BMP files under the name .jpg; Pillow decodes both by itself."""
MOST_PIXELS = 2**30 // 4 // 3
"""Pillow's default limit. Kept here because other packages change Pillow's, and some remove it."""
MOST_RLE_BYTES = 1 << 20
"""Of a BMP file that is compressed as runs of pixels: Pillow's decoder for them is written in Python, 1 MiB/s."""

NOT_AN_IMAGE = "not an image"
TOO_MANY_PIXELS = "image has too many pixels"
TOO_MANY_SCANS = "image has too many scans"
"""Of a JPEG: a small file that takes seconds to decode."""
CANNOT_BE_DECODED = "image cannot be decoded"
PIXEL_FORMAT = "unsupported pixel format"

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes that Pillow converts to RGB by itself. It clips I and F at 255, and their range is not known."""
WHITE = (255, 255, 255)


class BadImage(ValueError):
    """An image that is refused. `reason` is one of the five texts of this module, so that reasons can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason} ({detail})" if detail else reason)


def open_image(data: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Read an image's header; its pixels are decoded by `to_rgb`. Raises BadImage."""
    if has_too_many_scans(data):
        raise BadImage(TOO_MANY_SCANS)
    with _refusing(NOT_AN_IMAGE), warnings.catch_warnings():
        # Pillow only warns below twice its own limit; the comparison below decides.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(data), formats=formats)
    if image.format == "BMP" and image.tile[0][0] == "bmp_rle" and len(data) > MOST_RLE_BYTES:
        raise BadImage(CANNOT_BE_DECODED, f"a BMP of runs with {len(data)} bytes")
    if image.width * image.height > MOST_PIXELS:
        raise BadImage(TOO_MANY_PIXELS, f"{image.width} × {image.height}")
    return image


def to_rgb(image: Image.Image, transparency: Transparency = "drop") -> Image.Image:
    """Decode an opened image to 8-bit RGB. Of 16 bits per channel, the upper 8 are kept. Raises BadImage."""
    with _refusing(CANNOT_BE_DECODED):
        image = _eight_bits(image)
        if image.mode not in EIGHT_BITS:
            raise BadImage(PIXEL_FORMAT, f"Pillow's mode {image.mode}")
        if not image.has_transparency_data:
            return image.convert("RGB")
        if transparency == "white":
            return _on_white(image.convert("RGBA"))
        # Pillow warns about a palette's transparency unless it is converted to RGBA first. The colors are the same.
        return (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")


def rgb_pixels(data: bytes, formats: tuple[str, ...] = FORMATS, transparency: Transparency = "drop") -> np.ndarray:
    """Decode an encoded image: (H, W, 3), uint8, writable. Raises BadImage."""
    return np.array(to_rgb(open_image(data, formats), transparency))


def _eight_bits(image: Image.Image) -> Image.Image:
    """`image` with the upper 8 of 16 bits. Pillow does this by itself for color, but clips gray levels at 255."""
    key = image.info.get("transparency")
    if image.mode in SIXTEEN_BITS:
        levels = np.asarray(image)
        gray = Image.fromarray((levels >> 8).astype(np.uint8))
        if key is not None:
            gray.putalpha(Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8)))
        return gray
    # Pillow brings levels to 8 bits, but leaves PNG's transparent color (tRNS) as it is in the file.
    stored = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if key is not None and stored == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in key)
    elif key is not None and stored in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if stored == "L;2" else 17)
    return image


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, WHITE)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


@contextmanager
def _refusing(reason: str) -> Iterator[None]:
    """Raise BadImage for any exception but a lack of memory: Pillow's decoders raise dozens of kinds."""
    try:
        yield
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(TOO_MANY_PIXELS) from error
    except Exception as error:
        if lacks_memory(error):
            raise
        # Pillow's text for what is not an image only names the object that it read.
        raise BadImage(reason, "" if isinstance(error, UnidentifiedImageError) else one_line(error)) from error
