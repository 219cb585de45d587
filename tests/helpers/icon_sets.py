"""A miniature package of icon sets in the true format: 40 things in three sets, and sets that are left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from amorlip.config.corpus import IconSource
from amorlip.emoji import npm
from tests.helpers.miniatures import DIGEST

PACKAGE = "@icons/json"
THINGS = [f"{color} {shape}" for color in ("red", "calm", "deep", "tall", "wide") for shape in
          ("box", "bird", "cloud", "door", "egg", "fork", "gate", "hat")]  # fmt: skip
SIDE = 6
"""Cells of a drawing; each of them is painted or not, so that no two drawings look alike."""


def cells(thing: str, style: int) -> np.ndarray:
    """Which cells the drawing of a thing paints in a style, the corners always."""
    chosen = np.random.default_rng([THINGS.index(thing), style]).random((SIDE, SIDE)) < 0.5
    chosen[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return chosen


def body(thing: str, style: int, color: str = "currentColor", spelling: str = "M{x} {y}h4v4h-4z") -> str:
    """The drawing's SVG: a path for each painted cell, in a frame of 24."""
    places = [spelling.format(x=4 * x, y=4 * y) for y, x in np.argwhere(cells(thing, style))]
    return f'<path fill="{color}" d="{"".join(places)}"/>'


def icon_source(**changes: Any) -> IconSource:
    """The source of the miniature package."""
    defaults: dict[str, Any] = {
        "package": PACKAGE, "version": "1.0.0", "integrity": DIGEST, "licenses": ["MIT", "CC-BY-4.0"],
        "excluded_sets": ["smile"], "heldout_sets": ["gamma"], "picture_size": 16, "heldout_names": 0.25,
    }  # fmt: skip
    return IconSource.model_validate({**defaults, **changes})


def write_package(folder: Path) -> Path:
    """The unpacked package below `folder`, as if it had been fetched."""
    package = folder / "packages" / PACKAGE
    (package / "json").mkdir(parents=True)
    sets = {
        "alpha": ({}, _alpha()),
        "beta": ({}, _beta()),
        "gamma": ({"license": {"title": "CC BY 4.0", "spdx": "CC-BY-4.0"}}, _plain(3)),
        "closed": ({"license": {"title": "GPL 3.0", "spdx": "GPL-3.0"}}, _plain(4)),
        "old": ({"hidden": True}, _plain(5)),
        "smile": ({}, _plain(6)),
    }
    collections = {}
    for name, (info, content) in sets.items():
        collections[name] = {
            "name": f"Set {name}", "author": {"name": f"Artist of {name}"},
            "license": {"title": "MIT", "spdx": "MIT", "url": "https://example.org/license"}, **info,
        }  # fmt: skip
        whole = {"prefix": name, "info": collections[name], "width": 24, "height": 24, **content}
        (package / "json" / f"{name}.json").write_text(json.dumps(whole))
    (package / "collections.json").write_text(json.dumps(collections))
    (package / npm.STAMP).write_text(DIGEST)
    return package


def slug(thing: str) -> str:
    """The name of the icon that shows a thing."""
    return thing.replace(" ", "-")


def _plain(style: int) -> dict[str, Any]:
    return {"icons": {slug(thing): {"body": body(thing, style)} for thing in THINGS}}


def _alpha() -> dict[str, Any]:
    """Two styles of each thing, tags, and drawings that are left out."""
    icons = {}
    for thing in THINGS:
        icons[slug(thing)] = {"body": body(thing, 0)}
        icons[f"{slug(thing)}-outline"] = {"body": body(thing, 1)}
        icons[f"{slug(thing)}-24-outline"] = {"body": body(thing, 1)}
    icons |= {
        "former": {"body": body("red box", 0), "hidden": True},
        "7": {"body": body("red box", 0)},
        "blank-page": {"body": ""},
        "moving-page": {"body": f'<g><animate attributeName="x"/>{body("red box", 7)}</g>'},
        "../../escape": {"body": body("red box", 8)},
    }
    aliases = {
        "ruddy-box": {"parent": "red-box"},
        "box-red": {"parent": "red-box", "hFlip": True},
        "scarlet-box": {"parent": "ruddy-box"},
    }
    return {
        "icons": icons, "aliases": aliases, "suffixes": {"outline": "Outline", "24-outline": "Outline, 24"},
        "categories": {"Things & more": [slug(thing) for thing in THINGS[:8]]},
    }  # fmt: skip


def _beta() -> dict[str, Any]:
    """Its own drawings, and copies of alpha's: of the same paths in another spelling, and of other paths."""
    own = {slug(thing): {"body": body(thing, 2)} for thing in THINGS}
    copies = {
        "copied-one": {"body": body("red box", 0, "#000", "M{x}.001,{y} h4.00v4h-4z")},
        "copied-two": {"body": body("calm egg", 0, "black", "M{x} {y}l4 0l0 4l-4 0l0 -4")},
        "tinted-egg": {"body": body("calm egg", 0, "#4080ff", "M{x} {y}l4 0l0 4l-4 0l0 -4")},
    }
    return {"icons": {**own, **copies}}
