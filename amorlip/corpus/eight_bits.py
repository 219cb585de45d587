"""Decoding for img2dataset with 8 bits per channel, and transparency as the corpus wants it.

img2dataset keeps the depth that OpenCV gives it, and OpenCV's encoders clip deeper levels: a 16-bit picture would be
stored white. docs/image-formats.md lists what is stored of each pixel format.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from amorlip.common.images import NOT_AN_IMAGE, PIXEL_FORMAT, TOO_MANY_SCANS, rgb_pixels
from amorlip.common.jpeg import has_too_many_scans
from amorlip.common.transparency import Transparency

PNG = b"\x89PNG"
TIFF = (b"II*\0", b"MM\0*")
FORMATS = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM|II\*\0|MM\0\*", re.DOTALL)
"""Beginnings of JPEG, PNG, WebP, GIF, BMP and TIFF. OpenCV has decoders for a dozen others, which are seldom used."""
_imdecode = cv2.imdecode


def imdecode(buffer: np.ndarray, flags: int, transparency: Transparency = "white") -> np.ndarray | None:
    """`cv2.imdecode`, but of 16 bits per channel the upper 8, and with `drop` the colors stored under an alpha channel.

    With `white`, the alpha channel is kept: img2dataset composes on white. Raises ValueError for other depths, and for
    16 bits in formats other than PNG: an AVIF of 10 bits also gives 16, of which only the lower 10 are used. Also for a
    TIFF with alpha, whose colors OpenCV gives multiplied by alpha, so that img2dataset would multiply them again, for
    a JPEG with too many scans, and for formats that are not in FORMATS.
    """
    data = buffer.tobytes()
    if not FORMATS.match(data):
        raise ValueError(NOT_AN_IMAGE)
    if has_too_many_scans(data):
        raise ValueError(TOO_MANY_SCANS)
    if _has_transparent_gray(buffer):
        return np.ascontiguousarray(rgb_pixels(buffer.tobytes(), transparency=transparency)[:, :, ::-1])
    image = _eight_bits(buffer, _imdecode(buffer, flags))
    if transparency == "drop" and image is not None and image.ndim == 3:
        return np.ascontiguousarray(image[..., :3])
    return image


def _eight_bits(buffer: np.ndarray, image: np.ndarray | None) -> np.ndarray | None:
    if image is None or image.dtype == np.uint8:
        if image is not None and buffer[:4].tobytes() in TIFF and _has_alpha(image):
            raise ValueError(PIXEL_FORMAT)
        return image
    if image.dtype != np.uint16 or buffer[:4].tobytes() != PNG:
        raise ValueError(PIXEL_FORMAT)
    return np.right_shift(image, 8).astype(np.uint8)


def _has_alpha(image: np.ndarray) -> bool:
    return image.ndim == 3 and image.shape[2] == 4 and int(image[..., 3].min()) < 255


def _has_transparent_gray(buffer: np.ndarray) -> bool:
    """Whether this is a gray PNG with a transparent level (chunk tRNS), which OpenCV ignores in gray files only."""
    data = buffer[: 1 << 16].tobytes()
    return data.startswith(PNG) and data[25:26] == b"\0" and b"tRNS" in data.partition(b"IDAT")[0]
