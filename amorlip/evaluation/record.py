"""The JSON file of an evaluation: one model, one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_json
from amorlip.common.records import JsonRecord

Score = Annotated[float, Field(ge=0, le=1)]


class RunIdentity(JsonRecord):
    """Which model was evaluated."""

    scale: str
    """`external` for weights that were not trained here."""
    method: str
    variant: str | None
    seed: int
    model: str | None = None
    """For external weights: OpenCLIP's name for the architecture."""
    pretrained: str | None = None
    """For external weights: OpenCLIP's name for them, or the file."""


class _Subject(JsonRecord):
    """The keys that a file begins with: what was evaluated on what."""

    task: str
    """Key of the task in its benchmark."""
    run: RunIdentity


class Scores(JsonRecord):
    """What evaluating a model on a task gives. Scores are fractions."""

    main_metric: str
    value: Score | None
    """Value of the main metric; None if the task's files are missing."""
    metrics: dict[str, float] = {}
    """All metrics of the task's kind."""
    samples: int | None = None
    """Images; association: rounds."""
    samples_expected: int | None = None
    """Expected number, as in the benchmark; None: any number."""
    classes: int | None = None
    groups: dict[str, dict[str, Any]] | None = None
    """Value of the grouping column → accuracies and count."""
    per_class: dict[str, list[int]] | None = None
    """count and correct, in the order of the class names."""
    interval95: list[float] | None = None
    """Bootstrap interval of the main metric; None for metrics that `bootstrap` leaves out."""
    seconds: float | None = None
    """Duration of the whole evaluation."""
    images_per_s: float | None = None
    """None if features came from the cache, since that is not a speed of the model."""


class Evaluation(Scores, _Subject):  # in this order of bases, the file begins with the subject
    """The contents of an evaluation's JSON file."""

    weights_sha256: str | None = None
    inputs_sha256: str | None = None
    """Checksum of the weights, the settings, and the task with its files. While it is the same, the result is valid."""
    task_source: dict[str, Any] | None = None
    """Where the task's files are from: as in task.json, but of a folder outside the working directory only the name."""
    settings: dict[str, Any] | None = None
    """Section `evaluation` of the scale."""
    device: str | None = None
    versions: dict[str, str] | None = None
    git_revision: str | None = None
    """Revision of the code that computed the result."""
    missing: str | None = None
    """Why the task was not evaluated."""


class JobRecord(JsonRecord):
    """What an evaluation job writes once all its tasks have their results."""

    files: list[str]
    """Names of the results, next to the record."""


def remove_earlier(output: Path) -> None:
    """Remove an earlier result, so that a failed evaluation leaves none. Raises AmorlipError for any other file."""
    if output.is_file():
        try:
            found = read_json(output)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not {"task", "run", "main_metric"} <= set(found):
            raise AmorlipError(f"{output} exists and is not the result of an evaluation; choose another output")
    output.unlink(missing_ok=True)
