"""The files of a task, put into its folder: built, downloaded or linked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError, NotAvailable
from amorlip.common.files import overlap, sha256, walk
from amorlip.common.limits import MOST_TEXT_BYTES, read_file
from amorlip.config.benchmark import TaskContent, TaskSource
from amorlip.tasks import pack
from amorlip.tasks.check import check_content
from amorlip.tasks.folder import MARK, FolderState, claimed, files, set_aside, staging
from amorlip.tasks.record import RECORD, TaskRecord


def provide(
    source: TaskSource,
    output: Path,
    *,
    content: TaskContent | None = None,
    build: Callable[[Path], None] | None = None,
    allow_missing: bool = False,
) -> None:
    """Build, download or link the files of a task into `output`, check them, and write task.json.

    A zip archive of images is packed into shards, once, and then removed (of a linked folder, only the link is); its
    checksum stays in the record. Files that we did not write are never overwritten or deleted.

    Args:
        source: where the files come from.
        output: the task's folder.
        content: what the benchmark expects of the files.
        build: writes the files of a source of kind `emoji`, `icons` or `validation` into a folder.
        allow_missing: write a record that gives the reason, instead of raising NotAvailable.

    Raises:
        NotAvailable: if the source is gated, private or does not exist.
        AmorlipError: if the source is incomplete or faulty, or overlaps with `output`.
    """
    settings = {key: value for key, value in source.deciding().items() if value is not None}
    if source.kind == "folder":
        _require_apart(Path(str(source.path)), output)
    with claimed(output, settings):
        try:
            origin = _fetch(source, output, build)
        except NotAvailable as reason:
            if not allow_missing:
                raise
            print(f"left out: {reason}")
            TaskRecord(source=settings, missing=str(reason)).write(output / RECORD)
            return
        check_content(output, content, strict=source.kind == "folder")
        _write_record(output, settings, origin, source.sha256)


def _require_apart(source: Path, output: Path) -> None:
    """Refuse a source that overlaps with the task's folder: its files would be replaced by links to themselves."""
    if source.is_dir() and overlap(source, output):
        raise AmorlipError(
            f"source.path {source} overlaps with {output}, where the files of this task are written; nothing was "
            "changed. Move your files elsewhere and name their new folder in source.path"
        )
    for path in walk(source):
        if overlap(path, output):
            raise AmorlipError(f"{path} is in {output}, where the files of this task are written; move it elsewhere")


def _write_record(output: Path, settings: dict[str, Any], origin: dict[str, Any], pinned: str | None) -> None:
    """Write task.json with the checksum of every file, and remember sizes and times for `verified_record`.

    Raises AmorlipError if the files are not those with the checksum `pinned`.
    """
    paths = {path.relative_to(output).as_posix(): path for path in files(output)}
    stats = {name: (path.stat().st_size, path.stat().st_mtime_ns) for name, path in paths.items()}
    digests = {name: sha256(path) for name, path in paths.items()}
    FolderState(source=settings, stats=stats).write(output / MARK)
    record = TaskRecord(source=origin, files=digests)
    if pinned not in (None, record.content_sha256()):
        raise AmorlipError(
            f"{output}: the files of {settings.get('repository', 'the source')} have the checksum"
            f" {record.content_sha256()}, but {pinned} is pinned; to accept them, delete the key source.sha256"
        )
    record.write(output / RECORD)


def _fetch(source: TaskSource, output: Path, build: Callable[[Path], None] | None) -> dict[str, Any]:
    """Put the files into `output`; where they are from, for the record."""
    if source.kind == "hub":
        from amorlip.common import hub

        revision = hub.download(str(source.repository), source.commit or source.revision, output, hub.EVALUATION_SET)
        origin = {"kind": source.kind, "repository": source.repository, "revision": revision}
        origin |= _pack(output)
        _set_aside_shards_of_before(output)
        return origin
    with staging(output) as new:
        if source.kind == "folder":
            _link(Path(str(source.path)), new, output)
            return {"kind": source.kind, "path": source.path} | _pack(new)
        if build is None:
            option = "artwork" if source.is_rendered else "validation"
            raise AmorlipError(f"a task of kind '{source.kind}' is built from a corpus; give its folder: --{option}")
        build(new)
        return source.model_dump(include={"kind", "corpus", "builder"}, exclude_none=True) | _pack(new)


def _pack(folder: Path) -> dict[str, Any]:
    """Pack the archive in `folder`, if it has one, and remove it; its checksum, for the record."""
    if not pack.is_packable(folder):
        return {}
    pack.pack(folder, folder)
    archives = sorted(folder.glob("*.zip"))
    digests = {path.name: sha256(path) for path in archives}
    for archive in archives:
        archive.unlink()
    return {"archives": digests}


def _set_aside_shards_of_before(output: Path) -> None:
    """Set aside shards that nshards.txt does not count: an earlier revision of the repository had more."""
    try:
        count = int(read_file(output / "test" / "nshards.txt", MOST_TEXT_BYTES))
    except (OSError, ValueError):
        return  # check_content reports it
    # No set of all names: the number may be a billion.
    set_aside(output, [path for path in (output / "test").glob("*.tar") if not _is_counted(path.stem, count)])


def _is_counted(stem: str, count: int) -> bool:
    """Whether `stem` is a number from 0 to `count` - 1, as shards are named."""
    return stem.isascii() and stem.isdecimal() and int(stem) < count and stem == str(int(stem))


def _link(folder: Path, new: Path, output: Path) -> None:
    """Link the files of a user's folder into `new`; nothing is copied."""
    if not folder.is_dir():
        raise NotAvailable(f"{folder}: no such folder; source.path must name a folder in the layout of DataComp's sets")
    for path in walk(folder):
        if path.name == RECORD:
            continue
        link = new / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
