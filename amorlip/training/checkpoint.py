"""Checkpoints of a run in progress: written atomically, verified when read; the newest two are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import torch

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import read_json
from amorlip.config.run import Run

logger = logging.getLogger(__name__)

NOT_RESULTS = {
    "loader": {"workers", "local"},
    "device": True,
    "checkpoint_every_steps": True,
    "checkpoint_every_minutes": True,
    "log_every_steps": True,
    "on_nonfinite": True,
    "activation_checkpointing": True,
    "compile": True,
}
"""Keys of a recipe that change no weight (`compile`, `device`: except for rounding). A change keeps the checkpoint."""

PART = "-rank"
"""In the names of the files of single ranks."""
KEPT = 2
"""Checkpoints that are kept: if the newest is damaged, the run resumes from the one before."""


def key(run: Run, corpus_digest: str, architecture: dict[str, Any]) -> str:
    """Twelve hexadecimal digits for everything that decides a run's weights: another corpus or key is another run."""
    settings = run.model_dump(mode="json", exclude={"recipe": NOT_RESULTS})
    text = json.dumps([settings, corpus_digest, architecture], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


UNREADABLE = (OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, pickle.UnpicklingError)


class Checkpoints:
    """The folder of one run's checkpoints.

    Each is `step-N.pt`, read without running pickled code, and `step-N.json` with its checksum, which is written last:
    a checkpoint without it does not count. What each of several ranks knows alone is in `step-N-rankR.pt`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._abandoned = threading.Event()

    def save_part(self, step: int, rank: int, state: dict[str, Any]) -> str:
        """Write what this rank alone knows of the state after `step` steps; returns the file's checksum."""
        return self._write(state, self._part(step, rank))

    def save(self, step: int, state: dict[str, Any], parts: Sequence[str] = ()) -> None:
        """Write the state after `step` steps, then delete all but the newest two.

        `parts`: the checksums of the ranks' own files, which are written before.
        """
        path = self._path(step)
        record = {"step": step, "sha256": self._write(state, path)}
        # a kill in between leaves weights without a checksum, which do not count
        files.write_json(path.with_suffix(".json"), record | ({"parts": list(parts)} if parts else {}))
        for old in self._steps()[:-KEPT]:
            self._delete(old)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest checkpoint that can be read, as (steps, state); None if there is none.

        One that is cut short, altered or holds anything but data is skipped with a warning. Raises AmorlipError if
        there are checkpoints and none can be read.
        """
        steps = self._steps()
        for step in reversed(steps):
            try:
                for part, expected in enumerate(self._parts(step)):
                    _require_digest(self._part(step, part), expected)
                return step, self.read(step)
            except UNREADABLE as error:
                logger.warning("%s cannot be used (%s); looking for an older one", self._path(step), one_line(error))
        if steps:
            raise AmorlipError(f"{self.folder}: no checkpoint can be read; delete this folder to train from the start")
        return None

    def read(self, step: int) -> dict[str, Any]:
        """The state after `step` steps; raises what `latest` skips."""
        path = self._path(step)
        _require_digest(path, read_json(path.with_suffix(".json"))["sha256"])
        return torch.load(path, map_location="cpu", weights_only=True)

    def parts(self, step: int) -> list[dict[str, torch.Tensor]]:
        """What the ranks know alone, by rank; [] if there is no such state. A rank reads only what it uses of it."""
        paths = [self._part(step, rank) for rank in range(len(self._parts(step)))]
        return [torch.load(path, map_location="cpu", weights_only=True, mmap=True) for path in paths]

    def tidy(self) -> None:
        """Delete files that a killed process left incomplete. Only while holding the run's lock."""
        files.delete_unfinished(self.folder, "step-", "metrics.jsonl.")
        for path in self.folder.glob("step-*.pt"):
            if not (self.folder / f"{path.stem.partition(PART)[0]}.json").exists():
                path.unlink()

    def abandon(self) -> None:
        """What another thread is saving ends at once with KeyboardInterrupt, and so does all that is saved later."""
        self._abandoned.set()

    def _write(self, state: dict[str, Any], path: Path) -> str:
        """Write it whole or not at all; returns its checksum."""
        with files.atomic_path(path) as temporary, temporary.open("wb") as file:
            hashed = _HashedFile(file, self._abandoned)
            _write(state, hashed)
            return hashed.digest.hexdigest()

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def _part(self, step: int, rank: int) -> Path:
        return self.folder / f"step-{step:08d}{PART}{rank}.pt"

    def _parts(self, step: int) -> list[str]:
        return read_json(self._path(step).with_suffix(".json")).get("parts", [])

    def _steps(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.json"))

    def _delete(self, step: int) -> None:
        # the checksum first: without it the weights don't count
        self._path(step).with_suffix(".json").unlink()
        for path in (self._path(step), *self.folder.glob(f"{self._path(step).stem}{PART}*.pt")):
            path.unlink(missing_ok=True)


class _HashedFile:
    """A file that only grows, with the checksum of what was written: torch.save neither seeks nor reads.

    It has no method for that, so a version of PyTorch that does would fail.
    """

    def __init__(self, file: IO[bytes], abandoned: threading.Event) -> None:
        self.file, self.abandoned, self.digest = file, abandoned, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        if self.abandoned.is_set():
            raise KeyboardInterrupt
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _require_digest(path: Path, expected: str) -> None:
    if files.sha256(path) != expected:
        raise ValueError(f"the checksum of {path.name} differs from the one in the .json")


def _write(state: dict[str, Any], file: _HashedFile) -> None:
    try:
        torch.save(state, cast(IO[bytes], file))  # given a path, torch hides the error of a full disk
    except RuntimeError as error:
        # after Ctrl-C torch still closes its archive, finds it too short and reports that instead
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def require_finite(state: dict[str, Any], what: str, step: int) -> None:
    """Raises AmorlipError naming the first tensor of a flat state that holds NaN."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.isnan().any():
            raise AmorlipError(
                f"step {step}: '{name}' of the {what} is not a number; the last good checkpoint was kept, "
                "train again with a lower learning rate or another precision"
            )
