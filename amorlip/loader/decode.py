"""Encoded images → RGB pixels: JPEGs by simplejpeg, everything else by Pillow.

docs/decisions/2026-11-24-decoding.md has the measurements behind the choice.
"""

from __future__ import annotations

import numpy as np
import simplejpeg

from amorlip.common import images
from amorlip.common.jpeg import START, has_too_many_scans
from amorlip.common.transparency import Transparency


def decode(data: bytes, transparency: Transparency = "drop") -> np.ndarray:
    """The pixels of an encoded image, (H, W, 3), uint8, equal to those of `images.to_rgb`. Raises images.BadImage.

    A JPEG that is irregular in any way is left to Pillow, which decoded it in the stage `shards`. So Pillow alone
    decides which images are accepted.
    """
    if data[:2] == START and not has_too_many_scans(data):
        try:
            height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
            # simplejpeg has no limit on pixels: without this check, a header alone could fill the memory.
            if colors in ("YCbCr", "Gray", "RGB") and int(height) * int(width) <= images.MOST_PIXELS:
                return simplejpeg.decode_jpeg(data)
        except ValueError:  # raised for the decoder's warnings too, as for a file that is cut short
            pass
    return images.rgb_pixels(data, transparency=transparency)
