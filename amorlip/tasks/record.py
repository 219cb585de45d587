"""task.json: where the files of a task are from, and their checksums; or why they are missing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError
from amorlip.common.records import JsonRecord

RECORD = "task.json"


class TaskRecord(JsonRecord):
    """The contents of task.json. Has either `files` or `missing`."""

    source: dict[str, Any]
    """The task's source, as in its benchmark; of a hub's repository with the commit that was downloaded."""
    files: dict[str, str] = {}
    """Path in the task's folder → sha256."""
    missing: str | None = None
    """Why there are no files: the set is gated, private or nonexistent."""

    def content_sha256(self) -> str:
        """Checksum of what the source holds; of an archive that was packed, the archive's and not our shards'."""
        archives = self.source.get("archives", {})
        given = {name: digest for name, digest in self.files.items() if not archives or not name.startswith("test/")}
        return hashlib.sha256(json.dumps(given | archives, sort_keys=True).encode()).hexdigest()


def read_record(folder: Path) -> TaskRecord:
    """task.json in a task's folder. Raises AmorlipError if it is missing or faulty."""
    if not (folder / RECORD).is_file():
        raise AmorlipError(
            f"{folder} has no {RECORD}, so it is not the folder of a task; make one with "
            f'`amorlip tasks --settings \'{{"kind": "folder", "path": "{folder}"}}\' --output OTHER_FOLDER`'
        )
    return TaskRecord.read(folder / RECORD)


def missing(folder: Path) -> str | None:
    """Why the files of the task in `folder` are missing; None if they are there."""
    return read_record(folder).missing
