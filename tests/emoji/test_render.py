from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from amorlip.emoji import svg_check
from amorlip.emoji.names import Drawing
from amorlip.emoji.render import render, render_all

HALF = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#f00" d="M0 0h4v8h-4z"/></svg>'
WIDE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 4"><path fill="#00f" d="M0 0h8v4h-8z"/></svg>'
SMALL = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path fill="#00f" d="M1 2h4v2h-4z"/></svg>'
SQUARE = HALF.replace("h4v8h-4z", "h8v8h-8z")
TWO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#f00" d="M0 0h4v8h-4z"/>
<path fill="#00f" d="M4 0h4v8h-4z"/></svg>"""
EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"></svg>'
RED, WHITE, BLUE = [255, 0, 0], [255, 255, 255], [0, 0, 255]


def pixels(**drawing) -> np.ndarray:
    return np.asarray(render(Drawing("style", "1F600", **drawing), 16))


def test_a_drawing_fills_its_frame():
    picture = pixels(svg=TWO)
    assert picture.shape == (16, 16, 3)
    assert (picture[:, :5] == RED).all() and (picture[:, -5:] == BLUE).all()


def test_mirrored():
    picture = pixels(svg=TWO, mirrored=True)
    assert (picture[:, :5] == BLUE).all() and (picture[:, -5:] == RED).all()


@pytest.mark.parametrize(("svg", "color"), [(HALF, RED), (HALF.replace("M0 0h4", "M3 0h4"), RED)])
def test_margins_are_cut_off_and_the_drawing_centered(svg, color):
    picture = pixels(svg=svg)
    assert (picture[:, 4:12] == color).all() and (picture[:, :4] == WHITE).all() and (picture[:, 12:] == WHITE).all()


def test_a_small_drawing_is_enlarged_in_its_proportions():
    picture = pixels(svg=SMALL)
    assert np.abs(picture[6:10, 2:-2] - np.array(BLUE)).max() < 40
    assert (picture[:3] == WHITE).all() and (picture[13:] == WHITE).all()


def test_a_wide_drawing_is_centered_whole():
    picture = pixels(svg=WIDE)
    assert (picture[4:12] == BLUE).all() and (picture[:4] == WHITE).all() and (picture[12:] == WHITE).all()


def test_image_files_are_resized_and_laid_on_white(tmp_path):
    image = Image.new("RGBA", (64, 64), (0, 0, 255, 0))
    image.paste((0, 0, 255, 255), (0, 0, 64, 32))
    image.paste((0, 0, 255, 9), (0, 32, 64, 64))  # a soft shadow
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True)
    path = tmp_path / "a.webp"
    path.write_bytes(file.getvalue())
    picture = pixels(file=path)
    assert (picture[6:10] == BLUE).all() and (picture[:4] == WHITE).all() and (picture[-4:] == WHITE).all()


def test_what_cannot_be_drawn_is_counted_and_leaves_no_file(tmp_path):
    cut = tmp_path / "cut.webp"
    cut.write_bytes(b"RIFF")
    drawings = [
        Drawing("a", "1", svg=SQUARE), Drawing("a", "2", svg="<svg"), Drawing("b", "3", svg=EMPTY),
        Drawing("b", "4", file=cut),
    ]  # fmt: skip
    assert render_all(drawings, tmp_path / "out", 8) == [None, "cannot be rendered", "blank", "cannot be rendered"]
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["1.png"]


def svg(body: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{body}</svg>'


@pytest.mark.parametrize(
    "body",
    [
        '<image href="/etc/picture.png"/>',
        '<use xlink:href="file:///etc/picture.svg"/>',
        '<use href="&#x2f;etc/picture.svg"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zy8+"/>',
        '<filter id="f"><feImage href="#a"/></filter>',
        '<filter id="f"><feTurbulence numOctaves="1000000000"/></filter>',
        "<text>a</text>",
        "<g>" * 200_000 + "</g>" * 200_000,
        "".join(f'<clipPath id="c{i}" clip-path="url(#c{i + 1})"/>' for i in range(20_000)),
        f"<!--{' ' * svg_check.MOST_BYTES}-->",
    ],
    ids=["file", "link", "escaped", "data", "feImage", "endless", "fonts", "nested", "chain", "large"],
)
def test_drawings_that_are_meant_to_do_harm_are_not_given_to_the_renderer(body, tmp_path, monkeypatch):
    monkeypatch.setattr("resvg_py.svg_to_bytes", lambda **_: pytest.fail("was rendered"))
    assert render_all([Drawing("a", "1", svg=svg(body))], tmp_path, 8) == ["cannot be rendered"]


def test_entities_are_not_defined_in_a_drawing(tmp_path):
    text = '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + svg("<title>&a;</title>")
    assert render_all([Drawing("a", "1", svg=text)], tmp_path, 8) == ["cannot be rendered"]


@pytest.mark.parametrize("size", [8, 33])
def test_size(size):
    assert render(Drawing("a", "1", svg=WIDE), size).size == (size, size)
