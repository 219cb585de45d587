"""The sets of an unpacked package of icons: their licenses, and the drawings of one set with their names.

One set is read at a time: the whole package is some hundred megabytes of JSON.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError, one_line, unknown_key
from amorlip.common.limits import read_json
from amorlip.config.corpus import IconSource
from amorlip.emoji.names import FRAME, svg_document
from amorlip.icons.names import ICON, Name, split_name

ADVICE = "delete the package's folder and run again"


@dataclass(frozen=True)
class IconSetInfo:
    """What a package says about a set."""

    name: str
    title: str
    author: str
    license: str
    """SPDX name, or the title that the set gives; empty if there is none."""
    license_url: str
    hidden: bool
    """The package marks it as superseded by another set."""


@dataclass(frozen=True)
class Icon:
    """One drawing."""

    icon: str
    """Its name in the set."""
    name: Name
    tags: tuple[str, ...]
    """Categories of the set, and further names of the same drawing."""
    svg: str


def choose_sets(source: IconSource, package: Path) -> tuple[list[IconSetInfo], dict[str, str]]:
    """The sets that are rendered, sorted by name, and those that are left out: name → why.

    Raises AmorlipError for a set of the configuration that the package does not have or whose license is not listed.
    """
    found = {name: _info(name, one) for name, one in sorted(_read(package / "collections.json").items())}
    named = [*(source.sets or []), *source.heldout_sets]
    for name in (*named, *source.excluded_sets):
        if name not in found:
            raise AmorlipError(unknown_key(name, found, f"icon set of {source.package} {source.version}"))
    left_out = {}
    for name, info in found.items():
        why = _why_not(source, info)
        if why and name in named:
            raise AmorlipError(
                f"the icon set '{name}' cannot be used: {why}; take it out of `sets`, or add to `licenses`"
            )
        if why or (source.sets is not None and name not in named):
            left_out[name] = why or "not chosen"
    chosen = [info for name, info in found.items() if name not in left_out]
    if all(info.name in source.heldout_sets for info in chosen):
        raise AmorlipError(f"no icon set of {source.package} is left for training; change `sets` or `licenses`")
    return chosen, left_out


def _why_not(source: IconSource, info: IconSetInfo) -> str | None:
    if info.license not in source.licenses:
        return f"license {info.license}" if info.license else "no license"
    if info.name in source.excluded_sets:
        return "excluded"
    if info.hidden and info.name not in [*(source.sets or []), *source.heldout_sets]:
        return "superseded"
    return None


def _info(name: str, one: Any) -> IconSetInfo:
    try:
        if not re.fullmatch(ICON, name):
            raise ValueError("not a name of a set")
        return IconSetInfo(
            name=name,
            title=str(one["name"]),
            author=str(one["author"]["name"]),
            license=_license(one),
            license_url=str((one.get("license") or {}).get("url", "")),
            hidden=bool(one.get("hidden")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AmorlipError(
            f"collections.json: the set {name!r} is described wrongly: {one_line(error)}; {ADVICE}"
        ) from error


def _license(one: Any) -> str:
    given = one.get("license") or {}
    return str(given.get("spdx") or given.get("title") or "")


def read_icons(package: Path, info: IconSetInfo) -> tuple[list[Icon], Counter[str]]:
    """The drawings of a set in the order of its file, one per thing and style, and those left out: reason → number.

    Raises AmorlipError for a file that is not an icon set, or under another license than the package's list says.
    """
    path = package / "json" / f"{info.name}.json"
    content = _read(path)
    try:
        found, icons = _license(content.get("info") or {}), _icons(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AmorlipError(f"{path} is not an icon set: {one_line(error)}; {ADVICE}") from error
    if found != info.license:
        raise AmorlipError(f"{path}: its license is '{found}', but collections.json says '{info.license}'; {ADVICE}")
    return icons


def _icons(content: Mapping[str, Any]) -> tuple[list[Icon], Counter[str]]:
    affixes = content.get("prefixes") or {}, content.get("suffixes") or {}
    tags = _tags(content)
    frame = {key: content.get(key, default) for key, default in FRAME.items()}
    found: dict[tuple[str, str], Icon] = {}
    skipped: Counter[str] = Counter()
    for icon, drawing in content["icons"].items():
        name = split_name(icon, *affixes) if re.fullmatch(ICON, icon) else Name("", "")
        if drawing.get("hidden"):
            skipped["deprecated"] += 1
        elif not name.thing:
            skipped["no name in words"] += 1
        elif (name.thing, name.style) in found:
            skipped["same name and style, such as another size"] += 1
        else:
            others = [split_name(other, *affixes).thing for other in tags[icon]]
            kept = tuple(sorted({other for other in others if other and other != name.thing}))
            found[name.thing, name.style] = Icon(icon, name, kept, svg_document({**frame, **drawing}))
    return [*found.values()], skipped


def _tags(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Icon → the slugs of its categories and of its further names."""
    tags: dict[str, list[str]] = defaultdict(list)
    for category, icons in (content.get("categories") or {}).items():
        for icon in icons:
            tags[icon].append(re.sub(r"[^a-z0-9]+", "-", category.lower()).strip("-"))
    for alias, drawing in (content.get("aliases") or {}).items():
        # one that is turned or mirrored is another drawing
        if set(drawing) <= {"parent", "hidden"} and re.fullmatch(ICON, alias):
            tags[drawing["parent"]].append(alias)
    return tags


def _read(path: Path) -> Any:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise AmorlipError(f"{path} cannot be read as JSON: {one_line(error)}; {ADVICE}") from error
    if not isinstance(found, dict):
        raise AmorlipError(f"{path} holds no mapping; {ADVICE}")
    return found
