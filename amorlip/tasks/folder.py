"""A task's folder: which files in it are ours, and what happens to those of an earlier source.

Nothing that we did not write is overwritten or deleted. A hidden file marks a folder as ours; it is written before
anything else, because Snakemake deletes task.json before it runs a job again.
See docs/decisions/2026-11-26-task-folders.md.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError
from amorlip.common.records import JsonRecord
from amorlip.tasks.record import RECORD, TaskRecord

MARK = ".files.json"
STAGING = ".new"
SET_ASIDE = ".set-aside"


class FolderState(JsonRecord):
    """The hidden file of a folder that is ours."""

    source: dict[str, Any]
    """Settings of the source whose files are in the folder."""
    stats: dict[str, tuple[int, int]] = {}
    """Path → size and modification time [ns] when its checksum was computed."""
    foreign: bool = False
    """The folder had no mark before, and its task was never completed since: files in it may be a user's."""


@contextmanager
def claimed(folder: Path, source: dict[str, Any]) -> Iterator[None]:
    """Make `folder` ours while the block puts the files of `source` into it.

    Files of another source are set aside first. In a folder without our mark, every file may be a user's: those that
    the block replaces or removes are set aside, too. Raises AmorlipError if it has a link to another folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*"):
        if path.is_symlink() and path.is_dir():
            raise AmorlipError(f"{path} is a link, so files of the task would be written elsewhere; remove the link")
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    state = FolderState.read(folder / MARK) if (folder / MARK).is_file() else None
    if state.foreign if state else bool(visible) and not _has_record(folder):
        if state:
            (folder / RECORD).unlink(missing_ok=True)  # ours: it says why the task was missing
        with _kept(folder):
            FolderState(source=source, foreign=True).write(folder / MARK)
            yield
        return
    (folder / RECORD).unlink(missing_ok=True)  # it is written last: with it, the folder is complete
    if state is not None and state.source != source:
        set_aside(folder, [path for path in visible if path.name != RECORD])
    FolderState(source=source).write(folder / MARK)
    yield


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Set aside every file that the block replaces or removes. Copies are hard links, which take no space."""
    aside = _new_aside(folder)
    for path in [*files(folder), *folder.glob(RECORD)]:
        copy = aside / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, copy, follow_symlinks=False)
    try:
        yield
    finally:
        for copy in files(aside):
            path = folder / copy.relative_to(aside)
            if os.path.lexists(path) and os.path.samestat(path.lstat(), copy.lstat()):
                copy.unlink()
        for place in sorted((path for path in [aside, *aside.rglob("*")] if path.is_dir()), reverse=True):
            if not any(place.iterdir()):
                place.rmdir()
        if aside.exists():
            print(f"{folder} had files that this command did not write; those it replaced are now in {aside}")


def _new_aside(folder: Path) -> Path:
    numbered = (folder / f"{SET_ASIDE}-{number}" for number in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def _has_record(folder: Path) -> bool:
    """Whether task.json is there and ours: versions before the hidden file wrote no other mark."""
    try:
        TaskRecord.read(folder / RECORD)
    except AmorlipError:
        return False
    return True


def set_aside(folder: Path, paths: list[Path]) -> None:
    """Move files or folders in `folder` into a hidden folder there, and print its name."""
    if not paths:
        return
    aside = _new_aside(folder)
    for path in paths:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    print(f"files of an earlier source of this task are now in {aside}; delete it if you do not need them")


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """An empty hidden folder in `folder`. When the block ends well, its files replace those of `folder`."""
    new = folder / STAGING
    shutil.rmtree(new, ignore_errors=True)  # left by a job that was killed
    new.mkdir()
    try:
        yield new
        made = {path.relative_to(new) for path in files(new)}
        set_aside(folder, [path for path in files(folder) if path.relative_to(folder) not in made])
        for name in sorted(made):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).replace(folder / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def files(folder: Path) -> list[Path]:
    """All files below `folder`, and links to files, but task.json and what is hidden."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in visible if path != folder / RECORD)
