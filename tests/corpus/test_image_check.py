"""Whole images pass with anything behind their end; cut ones are refused wherever they are cut."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amorlip.common.images import BadImage
from amorlip.corpus.image_check import check_image
from amorlip.loader.decode import decode

PREVIEW = b"Exif\0\0" + b"\xff\xd8" + bytes(60) + b"\xff\xd9"
"""A header with an end mark of its own."""


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


IMAGES = {
    "JPEG": encoded("JPEG"),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "JPEG with restarts": encoded("JPEG", restart_marker_blocks=1),
    "JPEG with a preview": encoded("JPEG", exif=PREVIEW),
    "gray JPEG": encoded("JPEG", "L"),
    "CMYK JPEG": encoded("JPEG", "CMYK"),
    "PNG": encoded("PNG"),
    "palette PNG": encoded("PNG", "P"),
    "PNG with alpha": encoded("PNG", "RGBA"),
    "WebP": encoded("WEBP"),
    "lossless WebP": encoded("WEBP", lossless=True),
}
TAILS = {
    "one byte": b"x",
    "zeros": bytes(100_000),
    "0xFF": b"\xff" * 3000,
    "1022 bytes": bytes(1022),
    "a preview": IMAGES["JPEG"],
    "a text": b"<?xpacket?>" * 500,
    "random bytes": np.random.default_rng(1).bytes(5000),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", IMAGES)
def test_bytes_behind_the_end_do_not_matter(name, tail):
    check_image(IMAGES[name] + TAILS[tail])
    assert np.array_equal(decode(IMAGES[name] + TAILS[tail]), decode(IMAGES[name]))


@pytest.mark.parametrize("name", IMAGES)
def test_every_cut_is_refused(name):
    data = IMAGES[name]
    for length in range(len(data)):
        with pytest.raises(BadImage):
            check_image(data[:length])


@pytest.mark.parametrize("name", [name for name in IMAGES if "WebP" not in name])
def test_a_cut_image_filled_up_with_zeros_is_refused(name):
    """As a download into a file of the final size leaves it. A WebP's zeros are valid data."""
    data = IMAGES[name]
    for length in range(1, len(data) - 12, 5):
        with pytest.raises(BadImage):
            check_image(data[:length] + bytes(len(data) - length))
