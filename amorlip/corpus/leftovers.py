"""A split's folder holds the shards of its settings only: those of another source or list are set aside."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from amorlip.common.files import SET_ASIDE, set_aside, write_text

SOURCE = ".source"
STAGING = ".staging-"


def claim(folder: Path, made_from: str, *, keep_unmarked: bool = False) -> None:
    """Prepare `folder` for shards that are made from what `made_from` describes.

    Shards made from anything else are set aside. With `keep_unmarked`, those without a known source are kept.
    """
    stamp = folder / SOURCE
    before = stamp.read_text(encoding="utf-8") if stamp.is_file() else None
    if before == made_from:
        return
    if before is not None or not keep_unmarked:
        # Unfinished files, hidden, are of no use to another source.
        for staging in folder.glob(f"{STAGING}*"):
            shutil.rmtree(staging)
        for part in folder.rglob(".*.part"):
            part.unlink()
        set_aside(folder, shards_and_outcomes(folder), "its shards were made from another source, list or image size")
    write_text(stamp, made_from)


def keep_only(folder: Path, names: Iterable[str]) -> None:
    """Set aside every shard but those with these paths below `folder`."""
    wanted = {folder / name for name in names}
    others = (path for path in shards_and_outcomes(folder) if path not in wanted)
    set_aside(folder, others, "some shards are not in the mirror's revision")


def shards_and_outcomes(folder: Path) -> list[Path]:
    """The tar files in `folder`, without those set aside, and img2dataset's tables of outcomes."""
    passed_over = (SET_ASIDE, ".")
    tars = (path for path in folder.rglob("*.tar") if not path.relative_to(folder).parts[0].startswith(passed_over))
    return sorted([*tars, *folder.glob("[0-9]*.parquet")])
