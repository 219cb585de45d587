"""The files of a task, put into its folder: built, downloaded or linked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.common.errors import AmorlipError, MissingTask
from amorlip.config.benchmark import TaskSource
from amorlip.tasks import pack
from amorlip.tasks.record import RECORD, TaskRecord


def provide(
    source: TaskSource,
    output: Path,
    *,
    build: Callable[[Path], None] | None = None,
    allow_missing: bool = False,
) -> None:
    """Build, download or link the files of a task into `output`, then write task.json: their source and checksums.

    A zip archive of images is packed into shards, once, and then removed (in a folder that is linked, only the link
    is); its checksum stays in the record.

    Args:
        source: where the files come from.
        output: the task's folder.
        build: writes the files of a source of kind `emoji` into a folder.
        allow_missing: write a record that gives the reason, instead of raising MissingTask.

    Raises:
        MissingTask: if the source is gated, private or does not exist.
        AmorlipError: if it is incomplete.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / RECORD).unlink(missing_ok=True)  # it is written last: with it, the folder is complete
    try:
        origin = _fetch(source, output, build)
    except MissingTask as reason:
        if not allow_missing:
            raise
        print(f"left out: {reason}")
        TaskRecord(source=source.model_dump(exclude_none=True), missing=str(reason)).write(output / RECORD)
        return
    archives = []
    if pack.is_packable(output):
        pack.pack(output, output)
        archives = list(output.glob("*.zip"))
        origin |= {"archives": {path.name: files.sha256(path) for path in archives}}
    digests = {str(path.relative_to(output)): files.sha256(path) for path in _files(output) if path not in archives}
    TaskRecord(source=origin, files=digests).write(output / RECORD)
    for archive in archives:
        archive.unlink()


def _fetch(source: TaskSource, output: Path, build: Callable[[Path], None] | None) -> dict[str, Any]:
    """Put the files into `output`; where they are from, for the record."""
    if source.kind == "emoji":
        if build is None:
            raise AmorlipError("a task of kind 'emoji' is built from artwork; give its folder with --artwork")
        build(output)
        return {"kind": source.kind, "corpus": source.corpus, "builder": source.builder}
    if source.kind == "hub":
        from amorlip.common import hub

        revision = hub.download(str(source.repository), source.revision, output, hub.EVALUATION_SET)
        return {"kind": source.kind, "repository": source.repository, "revision": revision}
    _link(Path(str(source.path)), output)
    return {"kind": source.kind, "path": source.path}


def _files(folder: Path) -> list[Path]:
    hidden = [path for path in folder.rglob("*") if path.name.startswith(".")]
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return sorted(path for path in found if not any(path.is_relative_to(other) for other in hidden))


def _link(folder: Path, output: Path) -> None:
    """Link the files of a user's folder into `output`; nothing is copied."""
    if not folder.is_dir():
        raise MissingTask(f"{folder}: no such folder; the key source.path of a task names a folder in the wds layout")
    for path in _files(folder):
        link = output / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
