"""A request to train a run again from its start, although there are checkpoints. No PyTorch here: Snakemake makes it.

A job cannot know whether it was forced or its output was missing: Snakemake deletes the output in both cases. So the
workflow leaves a marker in the run's folder (docs/decisions/2026-11-26-forced-training.md).
"""

from __future__ import annotations

from pathlib import Path

MARKER = "train-again"


def request(output: Path) -> None:
    """Make the next start of the run in the folder `output` begin with its first step."""
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()


def set_aside(output: Path, checkpoints: Path) -> Path | None:
    """Follow a request: rename the folder `checkpoints`, and forget the request. Its new name; None if it has none.

    Only while holding the run's lock.
    """
    new = None
    if (output / MARKER).exists():
        if checkpoints.exists():
            numbers = (n for n in range(1, 10**6) if not _replaced(checkpoints, n).exists())
            new = checkpoints.rename(_replaced(checkpoints, next(numbers)))
        (output / MARKER).unlink()  # last: a start that is killed in between follows it again
    return new


def _replaced(checkpoints: Path, number: int) -> Path:
    return checkpoints.with_name(f"{checkpoints.name}-replaced-{number}")
