"""Whether the files of a task are still those of its record."""

from __future__ import annotations

from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.common.files import sha256
from amorlip.tasks.folder import MARK, FolderState
from amorlip.tasks.record import RECORD, TaskRecord, read_record


def verified_record(folder: Path) -> TaskRecord:
    """task.json in a task's folder, once its files are compared with it. Raises AmorlipError if they differ.

    A file with the size and modification time that it had when its checksum was computed is taken as unchanged; others
    are read. So checking 6 GB of images takes almost no time, unless the folder was copied.
    """
    record = read_record(folder)
    known = FolderState.read(folder / MARK).stats if (folder / MARK).is_file() else {}
    for name, digest in record.files.items():
        path = folder / name
        advice = f"restore it, or delete {folder / RECORD} and run the stage `tasks` again"
        try:
            stat = path.stat()
        except OSError as error:
            raise AmorlipError(f"{path} is missing, but {RECORD} lists it; {advice}") from error
        if known.get(name) != (stat.st_size, stat.st_mtime_ns) and sha256(path) != digest:
            raise AmorlipError(f"{path} does not match its checksum in {folder / RECORD}; {advice}")
    return record
