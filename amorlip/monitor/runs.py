"""How far a training run is, from the files in its folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from amorlip.training import records
from amorlip.training.records import EpochRecord, RunRecord, StepRecord

WEIGHTS = "model.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Progress:
    """The last records of a run."""

    run: RunRecord
    step: StepRecord | None
    epoch: EpochRecord | None
    age_s: float
    """Since the last record was written [s]."""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.run.epochs * self.run.steps_per_epoch

    @property
    def eta_s(self) -> float | None:
        """Training time that is left [s], at the last speed; None if it is not known."""
        if self.step is None or not self.step.samples_per_s:
            return None
        batch = self.step.samples_seen / self.step.step
        return max(0.0, (self.steps - self.step.step) * batch / self.step.samples_per_s - self.age_s)


def progress(folder: Path) -> Progress | None:
    """How far the run in `folder` is; None if it has recorded nothing. Raises AmorlipError for a damaged file.

    Until it ends, its metrics are next to its checkpoints; of several, those that were written last count.
    """
    found = [folder / METRICS, *folder.glob(f"checkpoints/*/{METRICS}")]
    paths = [path for path in found if path.is_file()]
    if not paths:
        return None
    newest = max(paths, key=lambda path: path.stat().st_mtime)
    entries = records.read_unfinished(newest)
    if not entries or not isinstance(entries[0], RunRecord):
        return None
    steps = [entry for entry in entries if isinstance(entry, StepRecord)]
    epochs = [entry for entry in entries if isinstance(entry, EpochRecord)]
    age = time.time() - newest.stat().st_mtime
    return Progress(entries[0], steps[-1] if steps else None, epochs[-1] if epochs else None, age)
