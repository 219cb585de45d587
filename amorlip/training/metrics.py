"""Writing metrics.jsonl (see `records`), and the same numbers as TensorBoard events."""

from __future__ import annotations

import os
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from amorlip.common import files
from amorlip.training import records
from amorlip.training.records import EpochRecord, Record, RunRecord


class Metrics:
    """Appends records to metrics.jsonl in `path` and events to `board`.

    `until_step`: continue after a checkpoint at this step. Later records are dropped, and TensorBoard is told to drop
    later events. 0 starts over.
    """

    def __init__(self, path: Path, board: Path, *, until_step: int) -> None:
        self.path = path
        found = records.read_unfinished(path) if until_step else []
        self.records = [record for record in found if isinstance(record, RunRecord) or record.step <= until_step]
        files.write_text(path, "".join(map(records.line, self.records)))
        self.file = files.open_to_append(path, "a")
        self.board = SummaryWriter(str(board), purge_step=until_step + 1)

    def append(self, record: Record) -> None:
        """Add one record; numbers that are not finite become null."""
        text = records.line(record)
        record = records.parse(text, str(self.path))
        self.records.append(record)
        self.file.write(text)
        self.file.flush()
        self._plot(record)

    def has_epoch(self, epoch: int) -> bool:
        """True if the end of this epoch is recorded."""
        return any(isinstance(record, EpochRecord) and record.epoch == epoch for record in self.records)

    def sync(self) -> None:
        """On return the records are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close both files."""
        self.file.close()
        self.board.close()

    def _plot(self, record: Record) -> None:
        if isinstance(record, RunRecord):
            return
        if isinstance(record, EpochRecord):
            values = {f"{task}/{name}": v for task, metrics in record.tasks.items() for name, v in metrics.items()}
        else:
            values = {f"train/{name}": v for name, v in record.model_dump(exclude={"kind", "step"}).items()}
        for name, value in values.items():
            if value is not None:
                self.board.add_scalar(name, value, record.step)
