"""img2dataset stores the right picture of every pixel format, composed on white, or gives a reason."""

from __future__ import annotations

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
    monkeypatch.setattr(cv2, "imdecode", imdecode)
    resizer = Resizer(256, "no", True, encode_format="png", encode_quality=1)

    def stored(data: bytes) -> np.ndarray | str:
        encoded, *_, reason = resizer(io.BytesIO(data))
        return reason or np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))

    return stored


@pytest.mark.parametrize("name", PNG)
def test_png(name, store):
    data, colors, opacity = PNG[name]
    found = store(data)
    assert not isinstance(found, str), found
    assert np.abs(found - on_white(colors, opacity)).max() <= 1


@pytest.mark.parametrize("name", OTHER)
def test_other_formats(name, store):
    data, color = OTHER[name]
    found = store(data)
    assert not isinstance(found, str), found
    assert np.abs(found.astype(int) - np.array(color)).max() <= 2


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_depths_whose_range_is_not_known_have_a_reason(mode, store):
    data = saved(Image.new(mode, (8, 8), 1000), "TIFF")
    assert store(data) == "unsupported pixel format"


def test_a_tiff_with_alpha_has_a_reason(store):
    """OpenCV multiplies its colors by alpha, so it would be stored too dark. One that is opaque everywhere is right."""
    assert store(saved(Image.new("RGBA", (8, 8), (200, 100, 50, 128)), "TIFF")) == "unsupported pixel format"
    assert (store(saved(Image.new("RGBA", (8, 8), (200, 100, 50, 255)), "TIFF")) == (200, 100, 50)).all()


def test_the_download_uses_it(monkeypatch):
    """And only while it runs."""
    original, seen, opener = cv2.imdecode, [], urllib.request._opener
    downloader = object.__new__(bounded_download.BoundedDownloader)
    downloader.timeout = 1
    with mock.patch.object(bounded_download.Downloader, "__call__", lambda self, row: seen.append(cv2.imdecode)):
        downloader(None)
    assert seen == [imdecode] and cv2.imdecode is original and urllib.request._opener is opener
