"""Encoded images → RGB pixels: JPEGs by simplejpeg, everything else by Pillow.

docs/decisions/2026-11-24-decoding.md has the figures behind the choice.
"""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image

from amorlip.corpus.shard_reader import FORMATS

ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What `decode` raises for data that are not a whole image, or one of too many pixels."""
JPEG = b"\xff\xd8"


def decode(data: bytes) -> np.ndarray:
    """The pixels of an encoded image, (H, W, 3) uint8, as Pillow's conversion to RGB has them; one of `ERRORS` if none.

    A JPEG that is in any way irregular is left to Pillow, as the stage `shards` decoded it. So it depends on Pillow
    alone which images are accepted.
    """
    if data[:2] == JPEG:
        try:
            height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
            if colors in ("YCbCr", "Gray", "RGB") and height * width <= Image.MAX_IMAGE_PIXELS:
                return simplejpeg.decode_jpeg(data)
        except ValueError:  # simplejpeg's own, for warnings too
            pass
    return np.array(Image.open(io.BytesIO(data), formats=FORMATS).convert("RGB"))
