"""Decoding for img2dataset with 8 bits per channel.

img2dataset keeps the depth that OpenCV gives it, and OpenCV's encoders clip deeper levels: a 16-bit picture would be
stored white. docs/image-formats.md lists what is stored of each pixel format.
"""

from __future__ import annotations

import cv2
import numpy as np

from amorlip.common.images import PIXEL_FORMAT, rgb_pixels

PNG = b"\x89PNG"
_imdecode = cv2.imdecode


def imdecode(buffer: np.ndarray, flags: int) -> np.ndarray | None:
    """`cv2.imdecode`, but of 16 bits per channel the upper 8.

    Raises ValueError for other depths, and for 16 bits in formats other than PNG: an AVIF of 10 bits also gives 16, of
    which only the lower 10 are used.
    """
    if _has_transparent_gray(buffer):
        return np.ascontiguousarray(rgb_pixels(buffer.tobytes(), transparency="white")[:, :, ::-1])
    image = _imdecode(buffer, flags)
    if image is None or image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16 or buffer[:4].tobytes() != PNG:
        raise ValueError(PIXEL_FORMAT)
    return (image >> 8).astype(np.uint8)


def _has_transparent_gray(buffer: np.ndarray) -> bool:
    """Whether this is a gray PNG with a transparent level (chunk tRNS), which OpenCV ignores in gray files only."""
    data = buffer[: 1 << 16].tobytes()
    return data.startswith(PNG) and data[25:26] == b"\0" and b"tRNS" in data.partition(b"IDAT")[0]
