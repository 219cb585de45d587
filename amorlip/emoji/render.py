"""Drawings to square RGB pictures on white, without their margins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from amorlip.common.images import open_image
from amorlip.common.pool import map_on_all_cores
from amorlip.emoji.names import Drawing
from amorlip.emoji.svg_check import check_svg

WHITE = (255, 255, 255)
VISIBLE = 16
"""Least opacity of the drawing's pixels [of 255]; below it are soft shadows and smoothed edges."""

CANNOT_BE_RENDERED, BLANK = "cannot be rendered", "blank"
"""Reasons for which a drawing has no picture."""


def render_all(drawings: Sequence[Drawing], folder: Path, size: int) -> list[str | None]:
    """Render each drawing to `folder`/style/hexcode.png, `size` pixels square, on all cores.

    Returns per drawing None, or why there is no picture (`cannot be rendered`, `blank`).
    """
    for style in {drawing.style for drawing in drawings}:
        (folder / style).mkdir(parents=True, exist_ok=True)
    return map_on_all_cores(partial(_render_to, folder=folder, size=size), drawings, chunksize=64)


def picture_path(drawing: Drawing) -> Path:
    """The path of a drawing's picture below the pictures' folder."""
    return Path(drawing.style) / f"{drawing.hexcode}.png"


def _render_to(drawing: Drawing, folder: Path, size: int) -> str | None:
    try:
        picture = render(drawing, size)
    except (ValueError, OSError):
        return CANNOT_BE_RENDERED
    if np.asarray(picture).min() == 255:
        return BLANK
    picture.save(folder / picture_path(drawing))
    return None


def render(drawing: Drawing, size: int) -> Image.Image:
    """RGB picture of `size` × `size` pixels: the whole drawing, as large as fits, centered, on white.

    Margins are cut off: they belong to the set, not to the drawing (OpenMoji leaves a third of the frame empty), and
    a style that is held out should differ in its drawing. Raises ValueError or OSError.
    """
    picture = open_image(_raw(drawing, size)).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda alpha: 255 * (alpha >= VISIBLE)).getbbox())
    picture = ImageOps.contain(picture, (size, size), Image.Resampling.LANCZOS)
    if drawing.mirrored:
        picture = ImageOps.mirror(picture)
    canvas = Image.new("RGB", (size, size), WHITE)
    canvas.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2), mask=picture)
    return canvas


def _raw(drawing: Drawing, size: int) -> bytes:
    if drawing.file is not None:
        return drawing.file.read_bytes()
    check_svg(drawing.svg or "")
    return _rasterize(drawing.svg or "", 2 * size)


def _rasterize(svg: str, size: int) -> bytes:
    import resvg_py

    # dpi's default is 0, with which nothing is drawn; fonts would make the picture depend on the machine.
    return resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, dpi=96, skip_system_fonts=True)
