"""Checkpoints of a run in progress: written atomically, verified when read; the newest two are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import read_json
from amorlip.config.run import Run

logger = logging.getLogger(__name__)

NOT_RESULTS = {
    "loader": {"workers"},
    "device": True,
    "checkpoint_every_steps": True,
    "checkpoint_every_minutes": True,
    "log_every_steps": True,
    "on_nonfinite": True,
    "activation_checkpointing": True,
    "compile": True,
}
"""Keys of a recipe that change no weight (`compile`, `device`: except for rounding). A change keeps the checkpoint."""

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
    a checkpoint without it does not count.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then delete all but the newest two."""
        path = self._path(step)
        with files.atomic_path(path) as temporary:
            _write(state, temporary)
            digest = files.sha256(temporary)
        # a kill in between leaves weights without a checksum, which do not count
        files.write_json(path.with_suffix(".json"), {"step": step, "sha256": digest})
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
                return step, self.read(step)
            except UNREADABLE as error:
                logger.warning("%s cannot be used (%s); looking for an older one", self._path(step), one_line(error))
        if steps:
            raise AmorlipError(f"{self.folder}: no checkpoint can be read; delete this folder to train from the start")
        return None

    def read(self, step: int) -> dict[str, Any]:
        """The state after `step` steps; raises what `latest` skips."""
        path = self._path(step)
        expected = read_json(path.with_suffix(".json"))["sha256"]
        if files.sha256(path) != expected:
            raise ValueError("its checksum differs from the one in its .json")
        return torch.load(path, map_location="cpu", weights_only=True)

    def tidy(self) -> None:
        """Delete files that a killed process left incomplete. Only while holding the run's lock."""
        files.delete_unfinished(self.folder, "step-", "metrics.jsonl.")
        for path in self.folder.glob("step-*.pt"):
            if not path.with_suffix(".json").exists():
                path.unlink()

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def _steps(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.json"))

    def _delete(self, step: int) -> None:
        # the checksum first: without it the weights don't count
        self._path(step).with_suffix(".json").unlink()
        self._path(step).unlink(missing_ok=True)


def _write(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:  # given a path, torch hides the error of a full disk
        try:
            torch.save(state, file)
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
