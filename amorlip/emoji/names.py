"""Emoji names and tags (emojibase), and which icon of a set shows which emoji (iconify's JSON files)."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError, one_line


@dataclass(frozen=True)
class Emoji:
    """A named thing that many artists drew."""

    hexcode: str
    """Code points, joined by `-`, as emojibase writes them."""
    name: str
    """Human-written label."""
    tags: tuple[str, ...]
    """Human-written keywords."""
    group: str
    subgroup: str
    unicode_name: str
    """Older sets name their icons by it; empty for sequences."""


@dataclass(frozen=True)
class Drawing:
    """One artist's drawing of an emoji: SVG text or an image file."""

    style: str
    hexcode: str
    svg: str | None = None
    file: Path | None = None
    mirrored: bool = False
    """The set describes this icon as the left-right mirror image of the drawing."""


HEXCODE = r"[0-9A-F]{1,6}(-[0-9A-F]{1,6})*"
"""It becomes part of a path."""


def read_json(path: Path) -> Any:
    """Contents of a package's JSON file. Raises AmorlipError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AmorlipError(
            f"{path} cannot be read as JSON: {one_line(error)}; delete its folder and run again"
        ) from error


def read_emoji(package: Path) -> list[Emoji]:
    """The emoji of the unpacked package emojibase-data, without skin-tone variants, letters and modifiers."""
    meta = read_json(package / "meta" / "groups.json")
    unicode_names = read_json(package / "meta" / "unicode-names.json")
    found = []
    for entry in read_json(package / "en" / "data.json"):
        group = meta["groups"].get(str(entry.get("group")), "component")
        if group == "component":
            continue
        if not re.fullmatch(HEXCODE, str(entry.get("hexcode"))):
            code = entry.get("hexcode")
            raise AmorlipError(f"{package}: '{code}' is not the code of an emoji; delete it and run again")
        found.append(
            Emoji(
                hexcode=entry["hexcode"],
                name=entry["label"],
                tags=tuple(entry.get("tags", ())),
                group=group,
                subgroup=meta["subgroups"][str(entry["subgroup"])],
                unicode_name=unicode_names.get(_short(entry["hexcode"]), ""),
            )
        )
    return found


def icon_drawings(package: Path, style: str, emoji: Iterable[Emoji]) -> list[Drawing]:
    """The drawings of an unpacked iconify set that can be matched to one of the `emoji`."""
    icons = read_json(package / "icons.json")
    chars_file = package / "chars.json"
    chars = read_json(chars_file) if chars_file.is_file() else {}
    matcher = _Matcher(icons, chars)
    found = []
    for one in emoji:
        name = matcher.icon(one)
        if name is not None:
            icon = resolve_alias(icons, name)
            found.append(Drawing(style, one.hexcode, svg=svg_document(icon), mirrored=bool(icon.get("hFlip"))))
    return found


def file_drawings(package: Path, style: str, emoji: Iterable[Emoji]) -> list[Drawing]:
    """The drawings of a set of image files named by code points (assets/1f600.webp)."""
    files = {_short(path.stem): path for path in sorted(package.glob("assets/*.webp"))}
    found = ((one.hexcode, files.get(_short(one.hexcode))) for one in emoji)
    return [Drawing(style, hexcode, file=file) for hexcode, file in found if file is not None]


def resolve_alias(icons: dict[str, Any], name: str) -> dict[str, Any]:
    """The icon's body, frame and mirroring, with its chain of aliases followed and the set's defaults filled in."""
    changes: dict[str, Any] = {}
    mirrored = False
    for _ in range(8):
        if name in icons["icons"]:
            frame = {key: icons.get(key, default) for key, default in FRAME.items()}
            icon = {**frame, **icons["icons"][name], **changes}
            return {**icon, "hFlip": mirrored != bool(icons["icons"][name].get("hFlip"))}
        alias = icons["aliases"][name]
        mirrored ^= bool(alias.get("hFlip"))
        changes = {**{key: alias[key] for key in FRAME if key in alias}, **changes}
        name = alias["parent"]
    raise AmorlipError(f"icon set '{icons.get('prefix')}': the aliases of '{name}' form a cycle")


FRAME = {"left": 0, "top": 0, "width": 16, "height": 16}


def svg_document(icon: dict[str, Any]) -> str:
    """A whole SVG document from an icon's body and frame, as iconify defines them."""
    frame = " ".join(str(icon[key]) for key in ("left", "top", "width", "height"))
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} viewBox="{frame}" width="{icon["width"]}" height="{icon["height"]}">{icon["body"]}</svg>'


class _Matcher:
    """Finds an emoji's icon: by code points, then by the slug of its name, then by the slug without its hyphens."""

    def __init__(self, icons: dict[str, Any], chars: dict[str, str]) -> None:
        aliases = icons.get("aliases", {})
        self.known = {name for name, icon in icons["icons"].items() if not icon.get("hidden")} | set(aliases)
        self.by_code = {_short(code): name for code, name in chars.items()}
        self.squashed: dict[str, set[str]] = defaultdict(set)
        for name in self.known:
            self.squashed[name.replace("-", "")].add(name)

    def icon(self, emoji: Emoji) -> str | None:
        if (name := self.by_code.get(_short(emoji.hexcode))) is not None:
            return name
        slugs = _slugs(emoji)
        for slug in slugs:
            if slug in self.known:
                return slug
        for slug in slugs:
            if len(names := self.squashed.get(slug.replace("-", ""), set())) == 1:
                return next(iter(names))
        return None


def _slugs(emoji: Emoji) -> list[str]:
    names = [emoji.name, emoji.unicode_name]
    if emoji.name.startswith("flag: "):
        names.insert(1, emoji.name.replace("flag: ", "flag for "))
    return [slug(name) for name in names if name]


def slug(name: str) -> str:
    """`Piñata’s box!` → `pinatas-box`: lower-case letters, digits and single hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "").replace(".", "")).strip("-")


def _short(hexcode: str) -> str:
    """Lower-case code points without the variation selector, which sets use inconsistently."""
    return hexcode.lower().replace("-fe0f", "")
