"""img2dataset stores the right picture of every pixel format, without transparency or on white, or gives a reason."""

from __future__ import annotations

import functools
import io
import urllib.request
from unittest import mock

import cv2
import numpy as np
import pytest
from img2dataset.resizer import Resizer
from PIL import Image

from amorlip.corpus import bounded_download
from amorlip.corpus.eight_bits import imdecode
from tests.common.test_images import OTHER, PNG, on_white, saved


@pytest.fixture
def store(monkeypatch):
    """What img2dataset stores of an encoded image: its pixels, or the reason."""
    resizer = Resizer(256, "no", True, encode_format="png", encode_quality=1)

    def stored(data: bytes, transparency: str = "white") -> np.ndarray | str:
        monkeypatch.setattr(cv2, "imdecode", functools.partial(imdecode, transparency=transparency))
        encoded, *_, reason = resizer(io.BytesIO(data))
        return reason or np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))

    return stored


@pytest.mark.parametrize("name", PNG)
def test_png(name, store):
    data, colors, opacity = PNG[name]
    for transparency, expected in (("white", on_white(colors, opacity)), ("drop", colors)):
        found = store(data, transparency)
        assert not isinstance(found, str), found
        assert np.abs(found - expected).max() <= 1, transparency


@pytest.mark.parametrize("name", OTHER)
def test_other_formats(name, store):
    data, color = OTHER[name]
    for transparency in ("white", "drop"):
        found = store(data, transparency)
        assert not isinstance(found, str), found
        assert np.abs(found.astype(int) - np.array(color)).max() <= 2, transparency


def test_webp_with_alpha(store):
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    data = saved(Image.fromarray(colors), "WEBP", lossless=True, exact=True)
    assert (store(data, "drop") == colors[..., :3]).all()
    white = on_white(colors[..., :3].astype(int), colors[..., 3:].astype(int))
    assert np.abs(store(data, "white") - white).max() <= 1


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_depths_whose_range_is_not_known_have_a_reason(mode, store):
    data = saved(Image.new(mode, (8, 8), 1000), "TIFF")
    assert store(data) == store(data, "drop") == "unsupported pixel format"


def test_a_tiff_with_alpha_has_a_reason(store):
    """OpenCV multiplies its colors by alpha, so it would be stored too dark. One that is opaque everywhere is right."""
    for transparency in ("white", "drop"):
        half, opaque = (saved(Image.new("RGBA", (8, 8), (200, 100, 50, alpha)), "TIFF") for alpha in (128, 255))
        assert store(half, transparency) == "unsupported pixel format"
        assert (store(opaque, transparency) == (200, 100, 50)).all()


def test_the_download_uses_it():
    """And only while it runs."""
    original, seen, opener = cv2.imdecode, [], urllib.request._opener
    downloader = object.__new__(bounded_download.BoundedDownloader)
    downloader.timeout, downloader.transparency = 1, "drop"
    downloader.private = downloader.files = False
    with mock.patch.object(bounded_download.Downloader, "__call__", lambda self, row: seen.append(cv2.imdecode)):
        downloader(None)
    assert seen[0].func is imdecode and seen[0].keywords == {"transparency": "drop"}
    assert cv2.imdecode is original and urllib.request._opener is opener
