"""A split's folder holds the shards of its settings only: those of another source or list are set aside."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from amorlip.common.errors import AmorlipError, shortened
from amorlip.common.files import HOLDER, SET_ASIDE, set_aside, write_text
from amorlip.corpus.division import EVERY_SHARD
from amorlip.corpus.records import DOWNLOAD, MANIFEST, DownloadRecord, Manifest

SOURCE = ".source"
STAGING = ".staging-"
MOST_LISTED = 3
"""Files in a message."""


def is_claimed(folder: Path, made_from: str) -> bool:
    """Whether `folder` was prepared for such shards."""
    stamp = folder / SOURCE
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == made_from


def claim(folder: Path, made_from: str, *, keep_unmarked: bool = False) -> None:
    """Prepare `folder` for shards that are made from what `made_from` describes.

    Shards made from anything else are set aside. With `keep_unmarked`, those without a known source are kept.
    `require_ours` is called before.
    """
    if is_claimed(folder, made_from):
        return
    stamp = folder / SOURCE
    if stamp.is_file() or not keep_unmarked:
        # Unfinished files, hidden, are of no use to another source.
        for staging in folder.glob(f"{STAGING}*"):
            shutil.rmtree(staging)
        for part in folder.rglob(".*.part"):
            part.unlink()
        set_aside(folder, shards_and_outcomes(folder), "its shards were made from another source, list or image size")
    write_text(stamp, made_from)


def require_ours(folder: Path) -> None:
    """Raise AmorlipError if `folder` has files and no download was made into it: they may be a user's."""
    if (folder / SOURCE).is_file() or _has_record(folder):
        return
    visible = (path for path in folder.iterdir() if not path.name.startswith((".", SET_ASIDE)))
    # Snakemake makes the folder of a job's output, parts/, before the job begins.
    names = sorted(path.name for path in visible if not _is_empty_folder(path))
    if others := [name for name in names if name != HOLDER]:
        listed = ", ".join(others[:MOST_LISTED]) + (", …" if len(others) > MOST_LISTED else "")
        raise AmorlipError(
            f"{folder} has files that no download of ours wrote ({shortened(listed)}), and some might be moved or"
            f" deleted; give an empty folder, or move them to {folder}/{SET_ASIDE}1, where a mirror's shards are found"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _has_record(folder: Path) -> bool:
    """Whether there is a record of ours: versions before the hidden file wrote no other mark."""
    for record, name in ((DownloadRecord, DOWNLOAD), (Manifest, MANIFEST)):
        with suppress(AmorlipError):
            record.read(folder / name)
            return True
    return False


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


def new_staging(folder: Path, shards: range) -> Path:
    """A new staging folder for these shards of the list."""
    return Path(tempfile.mkdtemp(dir=folder, prefix=f"{STAGING}{shards.start}-{shards.stop}-"))


def staging_folders(folder: Path) -> list[Path]:
    """The staging folders in `folder`."""
    return sorted(folder.glob(f"{STAGING}*"))


def shards_in_staging(staging: Path) -> range:
    """Which shards of the list a staging folder is for."""
    found = re.match(rf"{re.escape(STAGING)}(\d+)-(\d+)-", staging.name)
    return range(int(found[1]), int(found[2])) if found else EVERY_SHARD
