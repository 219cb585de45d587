"""The demo's artwork: pictures of emoji by many artists, split into training and held-out ones; its address list."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from amorlip.common.errors import AmorlipError
from amorlip.common.files import atomic_path, sha256
from amorlip.common.stable_hash import unit
from amorlip.config.corpus import EmojiSource, Package
from amorlip.corpus.urls import from_working_directory, write_table
from amorlip.emoji import npm
from amorlip.emoji.captions import caption
from amorlip.emoji.names import Drawing, Emoji, file_drawings, icon_drawings, read_emoji
from amorlip.emoji.records import PACKAGES, PackageEntry, PackagesRecord
from amorlip.emoji.render import picture_path, render_all

PICTURES = "pictures.parquet"


def build_artwork(source: EmojiSource, folder: Path) -> None:
    """Fetch the packages, render every drawing, and list the pictures in `folder`/pictures.parquet.

    Its columns: picture (path below `folder`), style, name, hexcode, tags (list), group, subgroup, role
    (`train`, `heldout_instance`, `heldout_name` or `heldout_style`). packages.json counts per package the drawings,
    the pictures, and those skipped, by reason. Raises AmorlipError when a package is missing or not the pinned one.
    """
    (folder / PICTURES).unlink(missing_ok=True)
    packages = npm.fetch(source.packages, folder / "packages")
    emoji = {one.hexcode: one for one in read_emoji(packages[the_package(source, "names")])}
    drawings = _drawings(source, packages, list(emoji.values()))
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    refused = render_all(drawings, folder / "pictures", source.picture_size)
    made = [drawing for drawing, reason in zip(drawings, refused, strict=True) if reason is None]
    table = pd.DataFrame([_row(source, drawing, emoji[drawing.hexcode]) for drawing in made])
    PackagesRecord(_entries(source, drawings, refused)).write(folder / PACKAGES)
    with atomic_path(folder / PICTURES) as temporary:
        table.to_parquet(temporary, index=False)


def the_package(source: EmojiSource, role: str) -> str:
    """Name of the one package with `role`. Raises AmorlipError when there is none or more than one."""
    names = [name for name, package in source.packages.items() if package.role == role]
    if len(names) != 1:
        raise AmorlipError(f"the emoji source needs exactly one package with role '{role}', and has {len(names)}")
    return names[0]


def role_of(source: EmojiSource, hexcode: str, style: str) -> str:
    """Whether a picture trains or is held out, and why; a function of the seed, the name and the style only.

    Names are held out whole, in all styles; of the other names single (style, name) pairs are; held-out styles whole.
    """
    heldout_styles = {package.style for package in source.packages.values() if package.role == "heldout_style"}
    if style in heldout_styles:
        return "heldout_style"
    if unit(source.seed, "name", hexcode) < source.heldout_names:
        return "heldout_name"
    if unit(source.seed, "instance", style, hexcode) < source.heldout_instances:
        return "heldout_instance"
    return "train"


def write_urls(folder: Path, output: Path) -> None:
    """List the training styles' pictures as `file:` addresses with captions in urls.parquet `output`.

    Pictures with role `train` are the training split, those of the held-out names the validation split. An address
    ends with a digest of its picture, so that changed pictures change the list and are downloaded again.
    """
    pictures = pd.read_parquet(folder / PICTURES)
    pictures = pictures[pictures["role"].isin(["train", "heldout_name"])]
    addresses = [_address(folder / picture) for picture in pictures["picture"]]
    columns = (pictures[column] for column in ("name", "tags", "style", "hexcode"))
    texts = [caption(name, list(tags), f"{style} {code}") for name, tags, style, code in zip(*columns, strict=True)]
    splits = pictures["role"].map({"train": "train", "heldout_name": "validation"})
    urls = from_working_directory(pa.chunked_array([addresses], pa.string()))
    write_table(urls, pa.array(texts), pa.array(splits.tolist()), output)


def _address(picture: Path) -> str:
    return f"{picture.resolve().as_uri()}#{sha256(picture)[:12]}"


def _drawings(source: EmojiSource, packages: dict[str, Path], emoji: list[Emoji]) -> list[Drawing]:
    found = []
    for name, package in source.packages.items():
        if package.role not in ("style", "heldout_style") or package.style is None:
            continue
        read = icon_drawings if (packages[name] / "icons.json").is_file() else file_drawings
        found += read(packages[name], package.style, emoji)
    return found


def _row(source: EmojiSource, drawing: Drawing, emoji: Emoji) -> dict[str, Any]:
    return {
        "picture": str("pictures" / picture_path(drawing)),
        "style": drawing.style,
        "name": emoji.name,
        "hexcode": emoji.hexcode,
        "tags": list(emoji.tags),
        "group": emoji.group,
        "subgroup": emoji.subgroup,
        "role": role_of(source, emoji.hexcode, drawing.style),
    }


def _entries(source: EmojiSource, drawings: list[Drawing], refused: list[str | None]) -> list[PackageEntry]:
    """Per package its pin and what became of its drawings."""
    counts: dict[str, Counter[str]] = {}
    for drawing, reason in zip(drawings, refused, strict=True):
        counts.setdefault(drawing.style, Counter())[reason or "pictures"] += 1
    return [_entry(name, package, counts.get(package.style or "")) for name, package in source.packages.items()]


def _entry(name: str, package: Package, counts: Counter[str] | None) -> PackageEntry:
    pin = package.model_dump(exclude_none=True)
    if counts is None:
        return PackageEntry(package=name, **pin)
    skipped = {reason: n for reason, n in sorted(counts.items()) if reason != "pictures"}
    return PackageEntry(package=name, **pin, pictures=counts["pictures"], skipped=skipped)
