"""Training one run from its first step, or its last checkpoint, to the exported weights."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from amorlip import models
from amorlip.common import files, slurm
from amorlip.common.errors import AmorlipError, one_line
from amorlip.config.benchmark import TaskDefinition
from amorlip.config.run import Run
from amorlip.loader import order
from amorlip.loader.loader import Batch
from amorlip.training import (
    checkpoint,
    distributed,
    progress,
    restart,
    results,
    rng,
    session,
    signals,
    starts,
    towers,
    transfer,
)
from amorlip.training.checkpoint_writer import CheckpointWriter
from amorlip.training.journal import Journal
from amorlip.training.limit import Limit
from amorlip.training.records import LOG
from amorlip.training.session import Session
from amorlip.training.sharing import Sharing
from amorlip.training.signals import StopRequest

if TYPE_CHECKING:
    from amorlip.evaluation.kept import KeptInputs

logger = logging.getLogger(__name__)

EVALUATION_BATCH = 256
"""Most images or texts per forward pass of the evaluation inside training."""

TaskFolders = dict[str, tuple[TaskDefinition, Path] | None]
"""Name → a task and the folder of its files; None where the set is not available and may be missing."""


SAVE, LEAVE = 1, 2
"""What is due after a step, besides the next one (0): a checkpoint, or a checkpoint and the end of this process."""


def train(
    run: Run,
    shards: Path,
    output: Path,
    task_folders: TaskFolders,
    *,
    from_start: bool = False,
    limit: Limit | None = None,
    terminal: TextIO | None = None,
) -> None:
    """Train `run` on the shards in `shards` (with manifest.json and index.parquet) and write its results to `output`.

    Call it in each of the recipe's ranks: alone, or in every process that torchrun starts. It resumes from the last
    checkpoint of the same settings and corpus, if there is one; if that is the final one, it only writes the results.
    With `from_start`, or after a request (see `restart`), the checkpoints so far are set aside first.
    `task_folders` holds the recipe's `epoch_tasks`, which are evaluated after each epoch unless they are missing.
    Its log goes to train.log in `output` and to `terminal`, by default stderr.

    On the CPU a run that was killed at any point and started again ends in the same weights, bit for bit, as one that
    was not. Written at the end, in this order: run.yaml, provenance.json, metrics.jsonl, model.safetensors.

    Raises:
        AmorlipError: if settings, corpus, checkpoints or processes don't fit together, if another process trains into
            `output`, if a loss or gradient is not finite, or if a GPU runs out of memory.
        signals.Interrupted (exit code 75): after SIGTERM, SIGURG or SIGUSR1, or shortly before `limit`, with a
            checkpoint of the last whole step.
    """
    recipe = run.recipe
    joined = distributed.join(recipe.ranks, recipe.threads_per_rank, recipe.precision)
    with joined as world, signals.listening() as request:
        alone = files.locked(output) if world.is_main else nullcontext()
        with alone, progress.log_to(output / LOG, world, f"{run.scale}/{run.name}", terminal):
            if from_start and world.is_main:
                restart.request(output)
            if towers.wants_compilation(recipe.compile, world.device):
                towers.compile_into(output / "compiled")
            trainer = Trainer(session.build(run, shards, world), output, task_folders, limit or Limit())
            try:
                with trainer.writer:
                    trainer.train(request)
                trainer.write_results()
            finally:
                trainer.journal.close()


class Trainer:
    """Runs a session from checkpoint to checkpoint; `step` updates are done."""

    def __init__(self, parts: Session, output: Path, task_folders: TaskFolders, limit: Limit) -> None:
        self.session, self.recipe, self.world, self.output = parts, parts.recipe, parts.world, output
        self.limit, self.saved_at, self.slowest_evaluation_s = limit, time.monotonic(), 0.0
        self.steps_per_epoch = parts.loader.steps_per_epoch
        for name in self.recipe.epoch_tasks:
            if name not in task_folders:
                raise AmorlipError(f"epoch_tasks names '{name}', but its files were not given")
        found = {name: task_folders[name] for name in self.recipe.epoch_tasks}
        self.tasks = {name: task for name, task in found.items() if task is not None}
        self.kept_inputs: dict[str, KeptInputs] = {}
        self.ranks_here = 1 + self.world.largest(self.world.local_rank)
        key = checkpoint.key(parts.run, parts.loader.digest, models.architecture(self.recipe.model))
        self.checkpoints = checkpoint.Checkpoints(output / "checkpoints" / key)
        self.writer = CheckpointWriter(self.checkpoints, self.world.device)
        self.step, state = self._newest()
        if state is not None:
            self._restore(state)
        # only where something starts a run again by itself: a person may have killed it as often as they like
        if (job := slurm.job_id()) and self.world.is_main and self.step < parts.steps:
            starts.note(self.checkpoints.folder, self.step, job)
        journal_state = None if state is None else state["journal"]
        self.journal = Journal(parts, self.checkpoints.folder, output / "tensorboard", self.step, journal_state)

    def train(self, request: StopRequest) -> None:
        """Train from the current step to the end. Raises Interrupted after a signal, once the current step is saved."""
        # resumed at the end of an epoch: a kill may have come before its evaluation was recorded
        if self.step and self.step % self.steps_per_epoch == 0:
            self._finish_epoch()
        batches = transfer.to_device(self._batches(), self.world.device, self.session.train_step.text_ends)
        for step, batch in enumerate(batches, start=self.step):
            self.writer.check()
            self._train_on(batch, step)
            due = self.world.largest(self._due(request))
            if due:
                self._save()
            if due == LEAVE:
                self._leave(request)
            if self._epoch_ends():
                self._finish_epoch()
        self._finish_save()

    def _due(self, request: StopRequest) -> int:
        """What this rank would do now, after a step: nothing (0), SAVE or LEAVE."""
        epoch_ends = self._epoch_ends()
        self.limit.note_save(self.writer.seconds)
        if request.reason is None and self.limit.is_near(self._seconds_before_the_next_save(epoch_ends)):
            request.reason = "the job's time limit is near"
        if request.reason:
            return LEAVE
        elapsed_s = time.monotonic() - self.saved_at
        steps, minutes = self.recipe.checkpoint_every_steps, self.recipe.checkpoint_every_minutes
        return SAVE if epoch_ends or self.step % steps == 0 or elapsed_s >= 60 * minutes else 0

    def _seconds_before_the_next_save(self, epoch_ends: bool) -> float:
        """How long what comes first may take: the end of the save that is under way, and an evaluation."""
        under_way = self.limit.slowest_save_s if self.writer.is_busy else 0.0
        return under_way + (self.slowest_evaluation_s if epoch_ends else 0.0)

    def _epoch_ends(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    def write_results(self) -> None:
        """Write the run's files, on rank 0."""
        if self.journal.metrics is not None:
            results.write(self.session, self.journal, self.journal.metrics, self.output)
            logger.info("done, weights in %s", self.output / "model.safetensors")

    def _batches(self) -> Iterator[Batch]:
        if self.step == self.session.steps:
            return
        batches = self.session.loader.batches(self.step)
        with signals.kept_from_children(signal.SIGINT):  # the first batch starts the loader's processes
            first = next(batches)
        yield first
        yield from batches

    def _train_on(self, batch_and_ends: transfer.BatchAndEnds, step: int) -> None:
        epoch, within = divmod(step, self.steps_per_epoch)
        if within == 0:
            self.session.objective.start_epoch(epoch)
            self.journal.start_epoch()
        if self.session.corpus is not None:
            self.session.corpus.encode_if_due(step)
        log = (step + 1) % self.recipe.log_every_steps == 0 or step + 1 == self.session.steps
        batch, ends = batch_and_ends
        outcome = self.session.train_step(batch, text_ends=ends, step=step, epoch=epoch, log=log)
        self.step = step + 1
        self.journal.count(outcome.update, self.step)
        if log:
            self.journal.close_window(outcome, self.step)

    def _finish_epoch(self) -> None:
        """Evaluate and record the epoch that has just ended, unless this was done before an interruption."""
        epoch = self.step // self.steps_per_epoch
        if not self.world.from_main(int(self.journal.lacks_epoch(epoch))):  # only rank 0 knows
            return
        begun = time.monotonic()
        # evaluation must not change the random numbers of the next epoch, or the weights would depend on its tasks
        with self.journal.paused(), rng.preserved(), signals.kept_from_children():
            tasks = self._evaluate_tasks()
        self.slowest_evaluation_s = max(self.slowest_evaluation_s, time.monotonic() - begun)
        close = partial(self.journal.close_epoch, epoch, self.step, tasks)
        self.world.while_others_wait(close, here=self.world.is_main)

    def _evaluate_tasks(self) -> dict[str, Mapping[str, float]]:
        sharing = Sharing(self.world)
        with sharing.buffers_of_main(self.session.model):
            return {name: sharing.evaluate(partial(self._evaluate, name, sharing)) for name in self.tasks}

    def _evaluate(self, name: str, sharing: Sharing) -> Mapping[str, float]:
        """The metrics of one task, by all ranks together."""
        from amorlip.evaluation import score
        from amorlip.evaluation.features import Encoder
        from amorlip.evaluation.kept import KeptInputs

        task, folder = self.tasks[name]
        model, pairs = self.session.model, self.recipe.batch_size // self.recipe.ranks
        if name not in self.kept_inputs:
            self.kept_inputs[name] = KeptInputs(processes=self.ranks_here)
        encoder = Encoder(
            model,
            models.eval_transform(model),
            models.tokenizer(self.recipe.model),
            device=self.world.device,
            precision=self.recipe.precision,
            batch_size=min(EVALUATION_BATCH, self.recipe.micro_batch_size or pairs),
            workers=self.recipe.loader.workers,
            kept=self.kept_inputs[name],
            share=sharing if self.world.size > 1 else None,
        )
        return score.evaluate(encoder, task, folder).metrics

    def _save(self) -> None:
        """A checkpoint of the current step, which rank 0 writes while training goes on. All ranks call it."""
        with self.journal.paused():
            self.journal.require_healthy()
            self._finish_save()
            begun = time.monotonic()
            state = {"session": self.session.state_dict(self.step), "journal": self.journal.state_dict()}
            parts = self._save_parts()
            if self.world.is_main:
                self.writer.start(self.step, state, parts, since=begun)
        self.saved_at = time.monotonic()

    def _finish_save(self) -> None:
        """Wait until the last checkpoint is on the disk. All ranks call it."""
        # if another rank ended meanwhile, torchrun would end the one that writes
        self.world.while_others_wait(self.writer.wait, here=self.world.is_main)

    def _save_parts(self) -> list[str]:
        """What ranks know alone, each by its own rank; the checksums of these files, by rank."""
        own = self.session.own_state(self.step)
        if not own:  # the same on all ranks
            return []
        digest = self.world.while_others_wait(
            lambda: self.checkpoints.save_part(self.step, self.world.rank, own), here=True
        )
        return self.world.gather(digest)

    def _newest(self) -> tuple[int, dict | None]:
        """Rank 0 chooses the checkpoint; every rank reads it."""
        found = self.world.while_others_wait(self._choose, here=self.world.is_main)
        step = self.world.from_main(found[0] if found else 0)
        if step and not found:
            return step, self.checkpoints.read(step)
        return found or (0, None)

    def _choose(self) -> tuple[int, dict] | None:
        replaced = restart.set_aside(self.output, self.checkpoints.folder)
        if replaced:
            logger.info(
                "trained again from the start; the checkpoints so far are in %s, delete them if unused", replaced
            )
        self.checkpoints.tidy()
        found = self.checkpoints.latest()
        others = sorted(folder.name for folder in self.checkpoints.folder.parent.glob("*/"))
        if others and not found:
            logger.info(
                "no checkpoint of these settings and this corpus; those of others (%s) are kept", ", ".join(others)
            )
        return found

    def _restore(self, state: dict) -> None:
        # a finished run is only exported
        if self.step < self.session.steps and state["session"].get("order") != order.VERSION:
            raise AmorlipError(
                f"{self.checkpoints.folder}: step-{self.step:08d}.pt was written by a version that reads pairs in "
                "another order; finish the run with that version, or delete this folder to train from the start"
            )
        try:
            self.session.load_state_dict(state["session"], self.checkpoints.parts(self.step))
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise AmorlipError(
                f"{self.checkpoints.folder}: the checkpoint step-{self.step:08d}.pt does not fit this run "
                f"({one_line(error)}); delete this folder to train from the start"
            ) from error

    def _leave(self, request: StopRequest) -> None:
        self._finish_save()
        logger.info(
            "%s: stopped after step %d of %d with a checkpoint (exit code %d); start again to resume",
            request.reason or "a signal to another rank",
            self.step,
            self.session.steps,
            signals.EXIT_CODE,
        )
        raise signals.Interrupted
