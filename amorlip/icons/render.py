"""The pictures of one set, rendered by processes, with their fingerprints; what is finished is not rendered again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amorlip.common.pool import map_on_all_cores
from amorlip.emoji.names import Drawing
from amorlip.emoji.render import BLANK, CANNOT_BE_RENDERED, render
from amorlip.icons import fingerprints
from amorlip.icons.sets import Icon


class Rendered(NamedTuple):
    """What became of one drawing."""

    reason: str | None
    """Why there is no picture; None if there is one."""
    paths: bytes = b""
    cells: bytes = b""
    colors: bytes = b""
    """Its fingerprints."""


def render_set(icons: Sequence[Icon], folder: Path, size: int) -> list[Rendered]:
    """Render each drawing of a set to `folder`/icon.png, `size` pixels square, on all cores.

    Files of an earlier call are deleted first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return map_on_all_cores(partial(_render, folder=folder, size=size), icons, chunksize=64)


def _render(icon: Icon, folder: Path, size: int) -> Rendered:
    try:
        picture = render(Drawing(folder.name, icon.icon, svg=icon.svg), size)
    except (ValueError, OSError):
        return Rendered(CANNOT_BE_RENDERED)
    if np.asarray(picture).min() == 255:
        return Rendered(BLANK)
    picture.save(folder / f"{icon.icon}.png")
    return Rendered(None, fingerprints.of_paths(icon.svg), *fingerprints.of_picture(picture))
