"""The stage `tasks`: the files of one evaluation task, wherever they come from, with a record of what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.common import files
from amorlip.common.errors import MissingTask
from amorlip.config.benchmark import TaskSource
from amorlip.config.load import validate
from amorlip.tasks import pack
from amorlip.tasks.record import RECORD


def run(settings: Mapping[str, Any], artwork: Path | None, output: Path, allow_missing: bool) -> None:
    """Build, download or link the files of one evaluation task."""
    provide(validate(TaskSource, settings, "settings"), artwork, output, allow_missing=allow_missing)


def provide(source: TaskSource, artwork: Path | None, output: Path, *, allow_missing: bool = False) -> None:
    """Build, download or link a task's files into `output`, then write task.json: source and digest of each file.

    A zip archive of images is packed into shards, once, and then removed (of a folder of the user's, only the link to
    it); its digest stays in the record.

    Args:
        source: where they come from.
        artwork: folder of the rendered emoji, for a source of that kind.
        output: the task's folder.
        allow_missing: write a record that says why, instead of raising MissingTask.

    Raises:
        MissingTask: if the source is gated, private or not there.
        AmorlipError: if it is not whole.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / RECORD).unlink(missing_ok=True)
    try:
        origin = _fetch(source, artwork, output)
    except MissingTask as reason:
        if not allow_missing:
            raise
        print(f"left out: {reason}")
        files.write_json(output / RECORD, {"source": source.model_dump(exclude_none=True), "missing": str(reason)})
        return
    archives = []
    if pack.is_packable(output):
        pack.pack(output, output)
        archives = list(output.glob("*.zip"))
        origin |= {"archives": {path.name: files.sha256(path) for path in archives}}
    digests = {str(path.relative_to(output)): files.sha256(path) for path in _files(output) if path not in archives}
    files.write_json(output / RECORD, {"source": origin, "files": digests})
    for archive in archives:
        archive.unlink()


def _fetch(source: TaskSource, artwork: Path | None, output: Path) -> dict[str, Any]:
    """Put the files into `output`; where they are from, for the record."""
    origin = {"kind": source.kind}
    if source.kind == "emoji":
        from amorlip.emoji import task_sets

        task_sets.build_task(source.builder, artwork, output)
        origin |= {"corpus": source.corpus, "builder": source.builder}
    elif source.kind == "hub":
        from amorlip.common import hub

        revision = hub.download(source.repository, source.revision, output, hub.EVALUATION_SET)
        origin |= {"repository": source.repository, "revision": revision}
    else:
        _link(Path(source.path), output)
        origin |= {"path": source.path}
    return origin


def _files(folder: Path) -> list[Path]:
    hidden = [path for path in folder.rglob("*") if path.name.startswith(".")]
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return sorted(path for path in found if not any(path.is_relative_to(other) for other in hidden))


def _link(folder: Path, output: Path) -> None:
    """Point `output` at the files of a folder of the user's, without copying them."""
    if not folder.is_dir():
        raise MissingTask(f"{folder}: no such folder; the key source.path of a task names a folder in the wds layout")
    for path in _files(folder):
        link = output / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
