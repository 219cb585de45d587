"""The record of a run: one JSON object a line, and the same numbers as TensorBoard events.

Steps and epochs count what is done: `step` 1 is the state after the first update, `epoch` 1 the first epoch.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from amorlip.common import files


class Metrics:
    """Appends records to metrics.jsonl in `path` and events to `board`.

    `until_step`: go on after a checkpoint at this step; later records are dropped, and TensorBoard is told to forget
    later events. 0 starts anew.
    """

    def __init__(self, path: Path, board: Path, *, until_step: int) -> None:
        self.path = path
        self.records = [record for record in read(path) if record.get("step", 0) <= until_step] if until_step else []
        files.write_text(path, "".join(_line(record) for record in self.records))
        self.file = path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(board), purge_step=until_step + 1)

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; numbers that are not finite become null."""
        record = _finite(record)
        self.records.append(record)
        self.file.write(_line(record))
        self.file.flush()
        if record["kind"] != "run":
            self._plot(record)

    def has_epoch(self, epoch: int) -> bool:
        """True if the record of this epoch's end is there."""
        return any(record["kind"] == "epoch" and record["epoch"] == epoch for record in self.records)

    def sync(self) -> None:
        """On return the records are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close both files."""
        self.file.close()
        self.board.close()

    def _plot(self, record: dict[str, Any]) -> None:
        if record["kind"] == "epoch":
            values = {f"{task}/{name}": v for task, metrics in record["tasks"].items() for name, v in metrics.items()}
        else:
            values = {f"train/{name}": value for name, value in record.items() if name not in ("kind", "step")}
        for name, value in values.items():
            if value is not None:
                self.board.add_scalar(name, value, record["step"])


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl up to the first line that is not whole; none if there is no file."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n"):
            break
        records.append(record)
    return records


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
