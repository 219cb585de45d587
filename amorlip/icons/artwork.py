"""The pictures of icon sets, split into training and held-out ones without duplicates; their address list."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from amorlip.common.files import atomic_path, locked, sha256
from amorlip.common.parquet import damaged
from amorlip.common.stable_hash import unit
from amorlip.config.corpus import IconSource
from amorlip.corpus.urls import write_table
from amorlip.emoji import npm
from amorlip.icons.captions import caption
from amorlip.icons.duplicates import duplicates
from amorlip.icons.fingerprints import CELLS, COLORS
from amorlip.icons.names import base_of
from amorlip.icons.records import SETS, SetEntry, SetsRecord
from amorlip.icons.render import render_set
from amorlip.icons.sets import IconSetInfo, choose_sets, read_icons

PICTURES = "pictures.parquet"
TRAIN, HELDOUT_NAME, HELDOUT_SET = ROLES = ("train", "heldout_name", "heldout_set")
"""What a picture is for, in the order in which duplicates are kept: what trains is not evaluated too."""
METHOD = 1
"""Number of the way in which sets are read and rendered; at another one, finished sets are rendered again."""


def build_artwork(source: IconSource, folder: Path) -> None:
    """Fetch the package, render its sets one after the other, and list the pictures in `folder`/pictures.parquet.

    Its columns: picture (path below `folder`), set, icon, name, style, tags (list), role (one of ROLES). sets.json has
    the sets with their licenses and counts per set the pictures, and the drawings without one, by reason. Finished sets
    are kept in `folder`/sets, so a call after a killed one goes on with the next set.

    Raises AmorlipError when the package is missing, not the pinned one or not a package of icon sets.
    """
    with locked(folder):
        (folder / PICTURES).unlink(missing_ok=True)
        package = npm.fetch({source.package: source}, folder / "packages")[source.package]
        chosen, left_out = choose_sets(source, package)
        drawings = _marked(_split(source, _render_all(source, chosen, package, folder)))
        _write_record(source, chosen, left_out, drawings, folder)
        made = drawings[drawings["reason"].isna()]
        table = made.assign(picture="pictures/" + made["set"] + "/" + made["icon"] + ".png")
        with atomic_path(folder / PICTURES) as temporary:
            table[["picture", "set", "icon", "name", "style", "tags", "role"]].to_parquet(temporary, index=False)


def role_of(source: IconSource, base: str, name_of_set: str) -> str:
    """Whether a picture trains or is held out; a function of the seed, the name and the set only."""
    if name_of_set in source.heldout_sets:
        return HELDOUT_SET
    return HELDOUT_NAME if is_heldout(source, base) else TRAIN


def is_heldout(source: IconSource, base: str) -> bool:
    """Whether a name never occurs in training, in any set."""
    return unit(source.seed, "name", base) < source.heldout_names


def write_urls(folder: Path, output: Path) -> None:
    """List the training sets' pictures as `file://` addresses with captions in urls.parquet `output`.

    Pictures with role `train` are the training split, those of the held-out names the validation split. An address
    ends with a digest of its picture, so that changed pictures change the list and are downloaded again.
    """
    pictures = pd.read_parquet(folder / PICTURES)
    pictures = pictures[pictures["role"] != HELDOUT_SET]
    addresses = [_address(folder / picture) for picture in pictures["picture"]]
    columns = (pictures[column] for column in ("name", "style", "tags", "set", "icon"))
    texts = [
        caption(name, style, list(tags), f"{one} {icon}") for name, style, tags, one, icon in zip(*columns, strict=True)
    ]
    splits = pictures["role"].map({TRAIN: "train", HELDOUT_NAME: "validation"})
    write_table(pa.array(addresses), pa.array(texts), pa.array(splits.tolist()), output)


def _address(picture: Path) -> str:
    return f"{picture.resolve().as_uri()}#{sha256(picture)[:12]}"


# ---------------------------------------------------------------- sets


def _render_all(source: IconSource, chosen: Sequence[IconSetInfo], package: Path, folder: Path) -> pd.DataFrame:
    """The drawings of all sets, rendered where they are not yet."""
    stamp = f"{source.integrity} {source.picture_size} {METHOD}"
    begun, drawn = time.monotonic(), 0
    for number, info in enumerate(chosen, start=1):
        path = folder / "sets" / f"{info.name}.parquet"
        if _is_finished(path, stamp):
            continue
        drawn += _render_one(source, info, package, folder, path, stamp)
        rate = drawn / (time.monotonic() - begun)
        print(f"{number} of {len(chosen)} sets: {info.name}; {drawn} drawings, {rate:.0f}/s", flush=True)
    return pd.concat(
        [_read_set(folder / "sets" / f"{info.name}.parquet", info.name) for info in chosen], ignore_index=True
    )


def _is_finished(path: Path, stamp: str) -> bool:
    if not path.is_file():
        return False
    with damaged(path, "delete it and run again"):
        return (pq.read_schema(path).metadata or {}).get(b"stamp") == stamp.encode()


def _render_one(source: IconSource, info: IconSetInfo, package: Path, folder: Path, path: Path, stamp: str) -> int:
    """Render a set and write the table of its drawings, last; returns how many drawings it has."""
    path.unlink(missing_ok=True)
    icons, skipped = read_icons(package, info)
    rendered = render_set(icons, folder / "pictures" / info.name, source.picture_size)
    columns = {
        "icon": [icon.icon for icon in icons],
        "name": [icon.name.thing for icon in icons],
        "style": [icon.name.style for icon in icons],
        "tags": [list(icon.tags) for icon in icons],
        **{field: [getattr(one, field) for one in rendered] for field in ("reason", "paths", "cells", "colors")},
    }
    table = pa.table({name: pa.array(values, TYPES[name]) for name, values in columns.items()})
    table = table.replace_schema_metadata({"stamp": stamp, "skipped": json.dumps(skipped)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    return len(icons)


TYPES = {
    **dict.fromkeys(("icon", "name", "style", "reason"), pa.string()),
    "tags": pa.list_(pa.string()),
    **dict.fromkeys(("paths", "cells", "colors"), pa.binary()),
}


def _read_set(path: Path, name: str) -> pd.DataFrame:
    with damaged(path, "delete it and run again"):
        return pq.read_table(path).to_pandas().assign(set=name)


# ---------------------------------------------------------------- split


def _split(source: IconSource, drawings: pd.DataFrame) -> pd.DataFrame:
    """The drawings with their role, sorted by it, and training's tags without held-out names."""
    bases = drawings["name"].map(base_of)
    roles = [role_of(source, base, one) for base, one in zip(bases, drawings["set"], strict=True)]
    drawings = drawings.assign(role=pd.Categorical(roles, ROLES, ordered=True))
    heldout = {tag for tags in drawings["tags"] for tag in tags if is_heldout(source, base_of(tag))}
    kept = [
        [tag for tag in tags if role != TRAIN or tag not in heldout]
        for tags, role in zip(drawings["tags"], roles, strict=True)
    ]
    ordered = drawings.assign(tags=pd.Series(kept, dtype=object)).sort_values("role", kind="stable", ignore_index=True)
    return ordered.assign(role=ordered["role"].astype(str))


def _marked(drawings: pd.DataFrame) -> pd.DataFrame:
    """The drawings, with a reason also where a picture is there earlier in the table."""
    reasons = drawings["reason"].to_numpy(dtype=object, copy=True)
    made = np.flatnonzero(drawings["reason"].isna())
    chosen = drawings.iloc[made]
    cells = np.frombuffer(b"".join(chosen["cells"]), np.uint8).reshape(-1, CELLS**2 // 8)
    colors = np.frombuffer(b"".join(chosen["colors"]), np.uint8).reshape(-1, 3 * COLORS**2)
    reasons[made] = duplicates(chosen["set"].tolist(), chosen["paths"].tolist(), cells, colors)
    return drawings.assign(reason=pd.Series(reasons, dtype=object))


def _write_record(
    source: IconSource,
    chosen: Sequence[IconSetInfo],
    left_out: dict[str, str],
    drawings: pd.DataFrame,
    folder: Path,
) -> None:
    pins = source.model_dump(include={"package", "version", "integrity"})
    by_set = dict(iter(drawings.groupby("set")))
    entries = [_entry(source, info, by_set.get(info.name), folder) for info in chosen]
    SetsRecord(**pins, sets=entries, left_out=left_out).write(folder / SETS)
    counts = Counter(drawings["reason"].fillna("pictures"))
    print(", ".join(f"{what}: {number}" for what, number in counts.most_common()), flush=True)


def _entry(source: IconSource, info: IconSetInfo, drawings: pd.DataFrame | None, folder: Path) -> SetEntry:
    skipped = Counter(json.loads(pq.read_schema(folder / "sets" / f"{info.name}.parquet").metadata[b"skipped"]))
    pictures: Counter[str] = Counter()
    if drawings is not None:
        skipped.update(drawings["reason"].dropna())
        pictures.update(drawings.loc[drawings["reason"].isna(), "role"])
    return SetEntry(
        name=info.name,
        title=info.title,
        author=info.author,
        license=info.license,
        license_url=info.license_url,
        heldout=info.name in source.heldout_sets,
        pictures=dict(sorted(pictures.items())),
        skipped=dict(sorted(skipped.items())),
    )
