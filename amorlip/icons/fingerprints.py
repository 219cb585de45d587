"""Two fingerprints of a drawing, to find the same drawing in several sets: of its paths and of its picture."""

from __future__ import annotations

import re
from hashlib import sha256

import numpy as np
from PIL import Image

CELLS = 16
"""Per side of the fingerprint of a picture: a bit for each of 256 cells."""
COLORS = 8
"""Per side of the small picture whose colors are compared."""
SHAPE = (
    r"\s(d|points|transform|c?x|c?y|x[12]|y[12]|r|r[xy]|width|height|fill|stroke|stroke-width|stop-color|opacity)"
    r'="([^"]*)"'
)
"""Attributes that decide what is seen. Identifiers, groups and spaces do not."""
BLACK = {"currentcolor", "black", "#000", "#000000"}
"""Ways to write the color in which an icon without colors is rendered."""


def of_paths(svg: str) -> bytes:
    """A digest of the drawing's geometry and colors, whatever their spelling: numbers count to two decimals."""
    return sha256("\n".join(f"{key} {_plain(value)}" for key, value in re.findall(SHAPE, svg)).encode()).digest()[:16]


def _plain(value: str) -> str:
    value = value.strip()
    if value.lower() in BLACK:
        return "black"
    if value.startswith(("#", "url(")):
        return "gradient" if value.startswith("url(") else value.lower()
    tokens = re.findall(r"[A-Za-z]+|[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", value)
    return " ".join(token if token[0].isalpha() else f"{float(token):.2f}" for token in tokens)


def of_picture(picture: Image.Image) -> tuple[bytes, bytes]:
    """Which cells of the picture are darker than its mean (32 bytes), and its colors in few cells (192 bytes)."""
    cells = np.asarray(picture.convert("L").resize((CELLS, CELLS), Image.Resampling.BOX), dtype=np.float32)
    small = picture.convert("RGB").resize((COLORS, COLORS), Image.Resampling.BOX)
    return np.packbits(cells < cells.mean()).tobytes(), small.tobytes()
