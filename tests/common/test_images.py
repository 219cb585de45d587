"""Every pixel format gives the picture that its bytes describe, or is refused with a reason that can be counted.

PNG files are encoded here by hand, and the expected pixels follow from the definition of each format, not from Pillow.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from amorlip.common import images
from amorlip.common.images import EVALUATION_FORMATS, FORMATS, BadImage, open_image, rgb_pixels, to_rgb
from amorlip.common.jpeg import MOST_SCANS
from amorlip.corpus.eight_bits import imdecode
from amorlip.corpus.image_check import check_image
from amorlip.corpus.reasons import plain_reason
from amorlip.loader.decode import decode

HEIGHT, WIDTH = 6, 16
GENERATOR = np.random.default_rng(0)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: np.ndarray, color_type: int, depth: int, *extra: bytes) -> bytes:
    """samples: (H, W, channels), integers below 2**depth."""
    height, width, _ = samples.shape
    flat = samples.reshape(height, -1)
    if depth == 16:
        rows = flat.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        bits = (flat[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def eight(samples: np.ndarray, depth: int) -> np.ndarray:
    """Levels of `depth` bits as levels of 8."""
    return samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)


def png_case(color_type: int, depth: int, *, key: bool = False) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A file, its colors (H, W, 3) and its opacity (H, W, 1), both of 8 bits."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    samples = GENERATOR.integers(0, 2**depth, (HEIGHT, WIDTH, channels))
    samples[0, :5] = samples[0, 0]  # a color that occurs more than once
    extra, opacity = [], np.full((HEIGHT, WIDTH, 1), 255)
    if color_type == 3:
        palette = GENERATOR.integers(0, 256, (2**depth, 3))
        extra.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
        colors = palette[samples[:, :, 0]]
        if key:
            of_color = GENERATOR.integers(0, 256, 2**depth)
            extra.append(chunk(b"tRNS", of_color.astype(np.uint8).tobytes()))
            opacity = of_color[samples]
    else:
        alpha = color_type in (4, 6)
        colors = eight(samples[:, :, :-1] if alpha else samples, depth)
        opacity = eight(samples[:, :, -1:], depth) if alpha else opacity
        if key:
            extra.append(chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes()))
            opacity = np.where((samples == samples[0, 0]).all(axis=2, keepdims=True), 0, 255)
    return png(samples, color_type, depth, *extra), np.broadcast_to(colors, (HEIGHT, WIDTH, 3)), opacity


PNG = {
    f"{name}, {depth} bits{', transparent color' if key else ''}": png_case(color_type, depth, key=key)
    for name, color_type, depths in (
        ("gray", 0, (1, 2, 4, 8, 16)),
        ("RGB", 2, (8, 16)),
        ("palette", 3, (1, 2, 4, 8)),
        ("gray with alpha", 4, (8, 16)),
        ("RGBA", 6, (8, 16)),
    )
    for depth in depths
    for key in ((False, True) if color_type in (0, 2, 3) else (False,))
}


def on_white(colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return (colors * opacity + 255 * (255 - opacity)) / 255


@pytest.mark.parametrize("name", PNG)
def test_png_without_its_transparency(name):
    data, colors, _ = PNG[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (rgb_pixels(data) == colors).all()


@pytest.mark.parametrize("name", PNG)
def test_png_on_white(name):
    data, colors, opacity = PNG[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rgb_pixels(data, transparency="white")
    assert np.abs(found - on_white(colors, opacity)).max() <= 1


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FLAT = (200, 120, 40)
INK = (10, 90, 200, 60)
"""Cyan, magenta, yellow and black."""
OTHER = {
    "JPEG, RGB": (saved(Image.new("RGB", (32, 32), FLAT), "JPEG"), FLAT),
    "JPEG, gray": (saved(Image.new("L", (32, 32), 77), "JPEG"), (77, 77, 77)),
    "JPEG, CMYK": (
        saved(Image.new("CMYK", (32, 32), INK), "JPEG"),
        tuple((255 - ink) * (255 - INK[3]) / 255 for ink in INK[:3]),
    ),
    "WebP, RGB": (saved(Image.new("RGB", (32, 32), FLAT), "WEBP", lossless=True), FLAT),
    "BMP, RGB": (saved(Image.new("RGB", (32, 32), FLAT), "BMP"), FLAT),
    "BMP, gray": (saved(Image.new("L", (32, 32), 77), "BMP"), (77, 77, 77)),
    "BMP, 1 bit": (saved(Image.new("1", (32, 32), 1), "BMP"), (255, 255, 255)),
    "BMP, palette": (saved(Image.new("RGB", (32, 32), FLAT).quantize(4), "BMP"), FLAT),
    "GIF, palette": (saved(Image.new("RGB", (32, 32), FLAT).quantize(4), "GIF"), FLAT),
    "GIF, gray": (saved(Image.new("L", (32, 32), 77), "GIF"), (77, 77, 77)),
}


@pytest.mark.parametrize("transparency", ["drop", "white"])
@pytest.mark.parametrize("name", OTHER)
def test_other_opaque_formats(name, transparency):
    data, color = OTHER[name]
    found = rgb_pixels(data, EVALUATION_FORMATS, transparency)
    assert found.shape == (32, 32, 3) and np.abs(found - np.array(color)).max() <= 2


def half_clear(mode: str) -> Image.Image:
    """The left half is opaque and FLAT, the right half is transparent."""
    image = Image.new(mode, (32, 32), (*FLAT, 255))
    image.paste((*FLAT, 0), (16, 0, 32, 32))
    return image


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_transparent_halves_of_other_formats(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = saved(half_clear("RGBA"), kind, **options)
    found = rgb_pixels(data, EVALUATION_FORMATS, "white").astype(int)
    assert np.abs(found[:, :16] - FLAT).max() <= 2 and (found[:, 16:] == 255).all()
    if kind != "GIF":  # its encoder gives the transparent entry of the palette another color
        assert np.abs(rgb_pixels(data, EVALUATION_FORMATS).astype(int) - FLAT).max() <= 2


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixel_formats_without_a_known_range_are_refused(mode):
    with pytest.raises(BadImage) as caught:
        to_rgb(Image.new(mode, (4, 4), 70_000))
    assert caught.value.reason == "unsupported pixel format"


EVERY_MODE = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]


@pytest.mark.parametrize("mode", [*EVERY_MODE, "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"])
@pytest.mark.parametrize("transparency", ["drop", "white"])
def test_every_mode_of_pillow_is_converted_or_refused(mode, transparency):
    try:
        assert to_rgb(Image.new(mode, (4, 4)), transparency).mode == "RGB"
    except BadImage as error:
        assert mode in ("I", "F", "La"), error


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose second scan is repeated until there are `count`."""
    data = saved(Image.effect_noise((32, 32), 90).convert("RGB"), "JPEG", progressive=True)
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    scan = data[starts[1] : starts[2]]
    return data[:-2] + scan * (count - len(starts)) + data[-2:]


def reason_of(decoder: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        decoder(data)
    except BadImage as error:
        return error.reason
    except ValueError as error:
        return plain_reason(str(error))
    return None


DECODERS = {
    "training": decode,
    "shards": check_image,
    "evaluation": lambda data: open_image(data, EVALUATION_FORMATS),
    "download": lambda data: imdecode(np.frombuffer(data, np.uint8), 1),
}


@pytest.mark.parametrize("path", DECODERS)
def test_every_path_refuses_a_jpeg_with_too_many_scans(path):
    assert reason_of(DECODERS[path], with_scans(MOST_SCANS + 1)) == "image has too many scans"
    preview = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x01\0\x01\x01" + b"\xff\xda" * 100 + b"\xff\xd9"
    hidden = with_scans(MOST_SCANS + 1)
    hidden = hidden[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2) + preview + hidden[2:]
    assert reason_of(DECODERS[path], hidden) == "image has too many scans"
    for good in (
        with_scans(MOST_SCANS),
        saved(Image.new("CMYK", (32, 32), INK), "JPEG", progressive=True),
        saved(Image.new("RGB", (32, 32), FLAT), "JPEG", exif=b"Exif\0\0" + preview),
    ):
        assert reason_of(DECODERS[path], good) is None


def test_a_bmp_of_runs_is_small():
    """Each run of two bytes takes a step of Pillow's decoder, which is written in Python."""
    count, side = images.MOST_RLE_BYTES // 2, 2000
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 2 * count, 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + b"\x01\x07" * count
    with pytest.raises(BadImage, match="a BMP of runs"):
        open_image(data, EVALUATION_FORMATS)
    assert open_image(data[:-2000], EVALUATION_FORMATS).size == (side, side)


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "EPS", "JPEG2000", "PPM", "SGI"])
@pytest.mark.parametrize("path", DECODERS)
def test_every_path_refuses_other_formats(path, kind):
    reason = reason_of(DECODERS[path], saved(Image.new("RGB", (32, 32), FLAT), kind))
    assert reason == ("image cannot be decoded" if path == "download" else "not an image")


@pytest.mark.parametrize("kind", ["TIFF", "EPS", "PPM", "ICO", "TGA", "PCX", "GIF", "BMP"])
@pytest.mark.parametrize("formats", [FORMATS, EVALUATION_FORMATS])
def test_other_formats_are_refused_whatever_the_name(kind, formats, monkeypatch):
    data = saved(Image.new("RGB", (32, 32), FLAT), kind)
    if kind in formats:
        open_image(data, formats)
        return
    with pytest.raises(BadImage) as caught:
        open_image(data, formats)
    assert caught.value.reason == "not an image"


@pytest.mark.parametrize("limit", [None, 10, 10**9])
def test_the_limit_of_pixels_is_not_pillows(limit, monkeypatch):
    """Another package may have changed Pillow's."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(images, "MOST_PIXELS", 32 * 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if limit != 10:
            open_image(saved(Image.new("RGB", (32, 32)), "PNG"))
        with pytest.raises(BadImage) as caught:
            open_image(saved(Image.new("RGB", (33, 32)), "PNG"))
    assert caught.value.reason == "image has too many pixels"


def test_pixels_that_cannot_be_decoded():
    data = bytearray(saved(Image.effect_noise((32, 32), 90), "PNG"))
    data[60:90] = bytes(30)
    with pytest.raises(BadImage) as caught:
        rgb_pixels(bytes(data))
    assert caught.value.reason == "image cannot be decoded"


def test_a_lack_of_memory_is_not_the_images_fault(monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(MemoryError):
        open_image(b"")
