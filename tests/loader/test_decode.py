"""Decoded pixels are Pillow's, and what cannot be decoded is what Pillow refuses."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from amorlip.common import images
from amorlip.common.images import BadImage
from amorlip.loader.decode import decode


def photo(width: int = 75, height: int = 50, channels: int = 3) -> Image.Image:
    """Smooth colors with some noise."""
    generator = np.random.default_rng(width)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 7, channels), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    noise = generator.integers(-8, 9, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(photo(), exif=exif)


FAST = {
    "small": encoded(photo(8, 5)),
    "one pixel": encoded(photo(1, 1)),
    "large": encoded(photo(641, 479)),
    "coarse": encoded(photo(), quality=20),
    "no subsampling": encoded(photo(), subsampling="4:4:4"),
    "half": encoded(photo(), subsampling="4:2:2"),
    "progressive": encoded(photo(), progressive=True),
    "gray": encoded(photo().convert("L")),
    "not as YCbCr": encoded(photo(), keep_rgb=True),
    "rotated by EXIF": rotated(),
    "bytes after the end": encoded(photo()) + b"junk",
}
PILLOW = {
    "CMYK": encoded(photo().convert("CMYK")),
    "jpeg with an early end mark": encoded(photo())[:-300] + b"\xff\xd9",
    "png": encoded(photo(), "PNG"),
    "png with alpha": encoded(photo(channels=4), "PNG"),
    "palette": encoded(photo().quantize(16), "PNG"),
    "bilevel": encoded(photo().convert("1"), "PNG"),
    "gray with alpha": encoded(photo().convert("LA"), "PNG"),
    "webp": encoded(photo(), "WEBP"),
}


@pytest.mark.parametrize("name", [*FAST, *PILLOW])
def test_pixels_are_pillows(name):
    data = {**FAST, **PILLOW}[name]
    found, expected = decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert found.dtype == np.uint8 and found.shape == expected.shape and found.flags.writeable
    # Builds of libjpeg-turbo may round differently.
    assert np.abs(found.astype(int) - expected).max() <= (1 if name in FAST else 0)


@pytest.mark.parametrize("name", [*FAST, *PILLOW])
def test_only_regular_jpegs_take_the_fast_way(name, monkeypatch):
    """Whatever Pillow has to do with is opened with it."""
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: opened.append(file) or original(file, **options))
    decode({**FAST, **PILLOW}[name])
    assert len(opened) == (name in PILLOW)


def bomb(side: int) -> bytes:
    """A JPEG whose header promises side × side pixels."""
    data = encoded(photo(8, 8))
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + side.to_bytes(2, "big") * 2 + data[place + 4 :]


BAD = {
    "empty": b"",
    "only a mark": b"\xff\xd8",
    "text": b"not an image",
    "cut jpeg": encoded(photo())[:-200],
    "cut progressive jpeg": encoded(photo(), progressive=True)[:-200],
    "cut png": encoded(photo(), "PNG")[:-200],
    "cut webp": encoded(photo(), "WEBP")[:-20],
    "bomb": bomb(65500),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_image_is_refused(name):
    with pytest.raises(BadImage):
        decode(BAD[name])


def attempt(way: Callable[[bytes], np.ndarray], data: bytes) -> np.ndarray | None:
    try:
        return way(data)
    except (OSError, ValueError, SyntaxError):
        return None


@pytest.mark.parametrize("name", ["small", "coarse", "progressive", "gray"])
def test_a_damaged_jpeg_is_to_both_decoders_the_same(name, monkeypatch):
    """Flipped bits, in header and data: refused by both, or the same pixels."""
    monkeypatch.setattr(images, "MOST_PIXELS", 10**6)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6 // 2)  # Pillow's error is at twice its limit
    generator, whole, refused = np.random.default_rng(0), FAST[name], 0
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.integers(2, len(whole), generator.integers(1, 4)):
            data[place] ^= 1 << generator.integers(8)
        expected = attempt(lambda data: np.array(Image.open(io.BytesIO(data)).convert("RGB")), bytes(data))
        found = attempt(decode, bytes(data))
        assert (found is None) == (expected is None)
        assert found is None or (found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 1)
        refused += found is None
    assert 0 < refused < 150


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_too_many_pixels_are_never_decoded_by_the_fast_way(monkeypatch, factor):
    """As they would fill the memory before anyone could object."""
    decoded, original = [], simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda data: decoded.append(data) or original(data))
    monkeypatch.setattr(images, "MOST_PIXELS", round(75 * 50 / factor))
    if factor < 1:
        decode(encoded(photo()))
    else:
        with pytest.raises(BadImage, match="too many pixels"):
            decode(encoded(photo()))
    assert len(decoded) == (factor < 1)
