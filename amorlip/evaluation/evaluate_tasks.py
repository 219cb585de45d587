"""One model on all tasks of a job. What an earlier, interrupted job computed is kept, and a faulty task is left out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amorlip.common.errors import AmorlipError, lacks_memory, one_line
from amorlip.common.files import DISK_ERRORS
from amorlip.config.benchmark import TaskDefinition
from amorlip.evaluation.evaluate_model import Evaluator, TaskFiles
from amorlip.evaluation.record import Evaluation, JobRecord, remove_earlier
from amorlip.tasks.record import read_record
from amorlip.tasks.verify import verified_record


@dataclass(frozen=True)
class Results:
    """Where a job's results are."""

    folder: Path
    """Gets TASK.json and TASK.parquet for each task."""
    newer_than: float
    """Earlier results are used if their modification time is later than this one [s]; see `evaluation_jobs`."""

    def names(self, key: str) -> list[str]:
        """The files of a task: its result and its predictions."""
        return [f"{key}.json", f"{key}.parquet"]

    def hold(self, key: str, inputs_sha256: str) -> bool:
        """Whether an earlier job left the result of these inputs."""
        paths = [self.folder / name for name in self.names(key)]
        if not all(path.is_file() and path.stat().st_mtime > self.newer_than for path in paths):
            return False
        try:
            return Evaluation.read(paths[0]).inputs_sha256 == inputs_sha256
        except AmorlipError:  # not a result: `remove_earlier` deletes or refuses it
            return False


def evaluate_tasks(
    evaluator: Evaluator, tasks: Mapping[str, TaskDefinition], folder: Path, results: Results, record: Path | None
) -> None:
    """Evaluate a model on every task whose result is not there yet. Each result is written as its task ends.

    Args:
        evaluator: the model.
        tasks: key → what to measure.
        folder: holds a folder for each task.
        results: where the results are written, and which of them may be used.
        record: a file to write at the end (see `JobRecord`), or None.

    Raises:
        AmorlipError: if the model cannot be loaded; or at the end, in one line that names each task that failed.
        OSError: if the disk of the results is full or broken.
    """
    failed: dict[str, str] = {}

    def note(key: str, reason: str) -> None:
        failed[key] = reason
        print(f"{key}: failed: {reason}", file=sys.stderr, flush=True)

    found = {}
    for key, definition in tasks.items():
        try:
            found[key] = TaskFiles(key, definition, folder / key, read_record(folder / key))
        except AmorlipError as error:
            note(key, str(error))
    if any(task.record.missing is None for task in found.values()):
        evaluator.loaded  # noqa: B018  # weights that cannot be loaded are no fault of a task
    for key, task in found.items():
        try:
            _evaluate(evaluator, task, results)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            note(key, _reason(error))
    if failed:
        kept = f"the results of the other {len(tasks) - len(failed)} are in {results.folder}"
        reasons = "; ".join(f"{key}: {reason}" for key, reason in failed.items())
        raise AmorlipError(f"{len(failed)} of {len(tasks)} tasks failed, {kept}: {reasons}")
    if record is not None:
        JobRecord(files=[name for key in tasks for name in results.names(key)]).write(record)


def _evaluate(evaluator: Evaluator, task: TaskFiles, results: Results) -> None:
    if task.record.missing is None and results.hold(task.key, evaluator.inputs_sha256(task)):
        print(f"{task.key}: was evaluated before", flush=True)
        return
    output, predictions = (results.folder / name for name in results.names(task.key))
    remove_earlier(output)
    verified_record(task.folder)
    evaluator.evaluate(task, output, predictions)


def _reason(error: Exception) -> str:
    """One line for an exception. Where a user cannot correct it, the traceback goes to the log."""
    if isinstance(error, AmorlipError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if not lacks_memory(error):
        traceback.print_exc()
    return one_line(error)
