"""What a run reports while it trains: log lines, metrics.jsonl and TensorBoard events; and whether it may continue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor

from amorlip.common import provenance
from amorlip.common.errors import AmorlipError
from amorlip.config.run import Run
from amorlip.training import cost, progress
from amorlip.training.metrics import Metrics
from amorlip.training.optim import Update
from amorlip.training.records import EpochRecord, RunRecord, Start, StepRecord
from amorlip.training.session import Session
from amorlip.training.step import Outcome

logger = logging.getLogger(__name__)


class Journal:
    """Counts every step; writes at the end of a logging window and of an epoch, on rank 0.

    `folder` holds metrics.jsonl, `board` the events. `step` updates are done; `state` is what `state_dict` returned
    then, or None at the start.
    """

    def __init__(self, session: Session, folder: Path, board: Path, step: int, state: dict[str, Any] | None) -> None:
        self.session, self.folder = session, folder
        self.window = progress.Window(session.world.device)
        self.marks = {"window_step": 0, "window_seconds": 0.0, "epoch_seconds": 0.0}
        self.training, self.wall = progress.Clock(), progress.Clock()
        self.starts: list[Start] = []
        self.peak_memory_mib: float | None = None
        if state is not None:
            # checkpoints of earlier versions have no starts
            self.starts = [Start.model_validate(start) for start in state.get("starts", [])]
            self.peak_memory_mib = state.get("peak_memory_mib")
            self.window.load(state["window"])
            self.marks = dict(state["marks"])
            self.training, self.wall = progress.Clock(state["training_seconds"]), progress.Clock(state["wall_seconds"])
        self.metrics = Metrics(folder / "metrics.jsonl", board, until_step=step) if session.world.is_main else None
        self._note_start(step)
        if self.metrics:
            self._introduce(self.metrics, step, state)

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint. Afterwards the records so far are on the disk."""
        if self.metrics:
            self.metrics.sync()
        # here and not at the end: a process that only exports has trained nothing
        self.peak_memory_mib = max(self.peak_memory_mib or 0.0, cost.peak_memory_mib(self.session.world.device))
        return {
            "peak_memory_mib": self.peak_memory_mib,
            "window": self.window.state,
            "marks": self.marks,
            "training_seconds": self.training.seconds,
            "wall_seconds": self.wall.seconds,
            "records": len(self.metrics.records) if self.metrics else 0,
            "starts": [start.model_dump() for start in self.starts],
        }

    def paused(self) -> AbstractContextManager[None]:
        """Time in the block is not counted as training."""
        return self.training.paused()

    def count(self, update: Update, step: int) -> None:
        """Count one step (numbered from 1)."""
        self.window.add(update, step)

    def require_healthy(self) -> None:
        """Raises AmorlipError after a loss or gradient that was not finite, unless `on_nonfinite` skips it."""
        trouble = self.window.trouble(self.session.recipe.on_nonfinite)
        if trouble:
            raise AmorlipError(
                f"{trouble}; the checkpoints before it are kept in {self.folder}: resume with on_nonfinite: skip, or "
                "train again with a lower learning rate"
            )

    def close_window(self, outcome: Outcome, step: int) -> None:
        """Record the steps since the last record. All ranks call it."""
        # waits for the GPU, once per window
        numbers = self.window.close(outcome.update, self._logged(outcome))
        self.require_healthy()
        session, now = self.session, self.training.seconds
        batch = session.recipe.batch_size
        record = StepRecord.model_validate(
            {
                "step": step,
                "epoch": (step - 1) // session.loader.steps_per_epoch + 1,
                "samples_seen": step * batch,
                "lr": session.optimizer.learning_rate(step - 1),
                **numbers,
                "samples_per_s": (step - self.marks["window_step"]) * batch / (now - self.marks["window_seconds"]),
            }
        )
        self.marks.update(window_step=step, window_seconds=now)
        if self.metrics:
            self.metrics.append(record)
            logger.info(progress.line(record, steps=session.steps, epochs=session.recipe.epochs))

    def _logged(self, outcome: Outcome) -> dict[str, Tensor]:
        """Scalars on the device: logit scale, its rate, and the diagnostics' means over the ranks."""
        session = self.session
        logged = {"logit_scale": session.model.logit_scale.exp()}
        if (rate := session.optimizer.scale_learning_rate()) is not None:
            logged["logit_scale_lr"] = rate
        for name, value in outcome.diagnostics.items():
            logged[name] = session.world.mean_(value.detach().clone())
        return logged

    def lacks_epoch(self, epoch: int) -> bool:
        """True on the rank that writes, if the end of this epoch is not recorded yet."""
        return self.metrics is not None and not self.metrics.has_epoch(epoch)

    def close_epoch(self, epoch: int, step: int, tasks: Mapping[str, Mapping[str, float | None]]) -> None:
        """Record the end of an epoch (numbered from 1) with the metrics of its tasks."""
        if self.metrics is None:
            return
        seconds = self.training.seconds - self.marks["epoch_seconds"]
        values = {name: dict(metrics) for name, metrics in tasks.items()}
        self.metrics.append(EpochRecord(epoch=epoch, step=step, seconds=seconds, tasks=values))
        scores = "".join(f"; {task}: {progress.values(metrics)}" for task, metrics in tasks.items())
        logger.info("epoch %d/%d took %.1f s%s", epoch, self.session.recipe.epochs, seconds, scores)

    def start_epoch(self) -> None:
        """An epoch's time is counted from here."""
        self.marks["epoch_seconds"] = self.training.seconds

    def close(self) -> None:
        """Close the files."""
        if self.metrics:
            self.metrics.close()

    def _by(self) -> str:
        """Which code has trained the run, if this one differs."""
        last = self.starts[-1] if self.starts else None
        if last is None or last.source_digest == provenance.source_digest():
            return ""
        return (
            f". Other code trained it (revision {last.git_revision}); "
            "to train again: snakemake --forcerun train, or amorlip train --from-start"
        )

    def _note_start(self, step: int) -> None:
        """Add this process to `starts`, unless there is nothing left to train or it equals the process before."""
        here = _this_process(step + 1)
        before = self.starts[-1].model_copy(update={"from_step": step + 1}) if self.starts else None
        if step < self.session.steps and here != before:
            self.starts.append(here)

    def _introduce(self, metrics: Metrics, step: int, state: dict[str, Any] | None) -> None:
        session, recipe = self.session, self.session.recipe
        place = f"resumed after step {step}" if step else "from the start"
        if step == session.steps:
            place = f"already trained: its files are written again, and no step is trained{self._by()}"
        steps, world = session.loader.steps_per_epoch, session.world
        logger.info(
            f"{recipe.model} by '{session.run.objective}', {session.loader.samples} pairs of {recipe.corpus}, "
            f"batch {recipe.batch_size}, {recipe.epochs} epochs of {steps} steps, {world.size} x {world.device.type}, "
            f"{place}"
        )
        if state is None:
            metrics.append(_facts(session))
        elif len(metrics.records) < state["records"]:  # someone deleted or cut the file
            raise AmorlipError(
                f"{metrics.path} has {len(metrics.records)} records up to the checkpoint of step {step}, but "
                f"{state['records']} were written; delete {self.folder} to train from the start"
            )


def identity(run: Run) -> dict[str, Any]:
    """What identifies a run in every file about it."""
    return {"scale": run.scale, "method": run.method, "variant": run.variant, "seed": run.seed}


def _this_process(first_step: int) -> Start:
    return Start(
        from_step=first_step,
        git_revision=provenance.revision(),
        source_digest=provenance.source_digest(),
        versions=provenance.versions(),
        **provenance.machine(),
    )


def _facts(session: Session) -> RunRecord:
    return RunRecord(
        **identity(session.run),
        steps_per_epoch=session.loader.steps_per_epoch,
        epochs=session.recipe.epochs,
        samples=session.loader.samples,
        parameters=sum(parameter.numel() for parameter in session.model.parameters()),
    )
