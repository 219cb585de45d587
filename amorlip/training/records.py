"""The records of metrics.jsonl and provenance.json, for the run that writes them and for all readers. No PyTorch here.

metrics.jsonl has one JSON object per line: first the run, then one per logging window and one per epoch. Steps and
epochs count what is done: `step` 1 is the state after the first update, `epoch` 1 the first epoch. Numbers that are not
finite are null.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import parse_json
from amorlip.common.records import JsonRecord

LOG = "train.log"
"""Name of the log in a run's folder."""
Number = float | None
"""null where it was not finite."""


class RunRecord(BaseModel):
    """The first line: which run it is, and its size."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: Literal["run"] = "run"
    scale: str
    method: str
    variant: str | None
    seed: int
    steps_per_epoch: int
    epochs: int
    samples: int
    """Pairs of the corpus."""
    parameters: int
    """Parameters of the model."""


class StepRecord(BaseModel):
    """The steps since the record before. Further keys are the method's diagnostics, by name."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")
    # how pydantic documents the type of further keys
    __pydantic_extra__: dict[str, Number] = Field(init=False)  # pyrefly: ignore[bad-override-mutable-attribute]

    kind: Literal["step"] = "step"
    step: int
    epoch: int
    samples_seen: int
    """Pairs, since the start of the run."""
    lr: float
    """The encoders' learning rate in the last step."""
    loss: Number
    """Mean over the window's applied steps."""
    grad_norm: Number
    """Of the last step, before clipping."""
    skipped_steps: int
    """Since the start of the run."""
    samples_per_s: float


class EpochRecord(BaseModel):
    """The end of an epoch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: Literal["epoch"] = "epoch"
    epoch: int
    step: int
    seconds: float
    """Training time of the epoch, without evaluation and checkpoints."""
    tasks: dict[str, dict[str, Number]]
    """Task → metric → value: a fraction, as measured."""


class PeerRecord(BaseModel):
    """Speed of training next to that of the authors' release, in the same run of a bench [pairs/s]."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    peer_precision: str
    """The release's `--precision`."""
    ours_per_s: float
    """Mean of a measurement before the release's and one after it."""
    peer_steps_per_s: float
    """Of its steps alone, without the time that they wait for its loader; ours have random pairs, and do not wait."""
    ratio: float
    """Ours over the release's steps alone."""
    peer_per_s: float
    """Whole, with that time."""
    ratio_to_whole: float
    """Ours over that."""


class CostRecord(BaseModel):
    """What a step and the memory of a run cost, as `amorlip bench paper-table2` measures them, one object a row."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    scale: str
    method: str
    variant: str | None
    device: str
    median_step_ms: float
    peak_memory_mib: float
    step_time_over_clip: float
    """In percent."""
    memory_over_clip: float
    """In percent."""
    peer: PeerRecord | None = None
    """With `--peer`, where the release was measured; not in files of earlier versions."""


class CorpusRecord(BaseModel):
    """What a run was trained on."""

    name: str
    digest: str
    """Of the manifest, which lists every pair in order."""
    pairs: int


class Start(BaseModel):
    """The code and machine of a start of the run that trained, unless they are those of the start before."""

    from_step: int
    """First step that it computed (counted from 1)."""
    git_revision: str | None
    """Commit of the code, with `+changes` if files differed from it; null outside a git checkout."""
    source_digest: str
    """Of the package's Python files: it distinguishes uncommitted changes."""
    versions: dict[str, str]
    """Package → version."""
    platform: str
    device: str
    cpu_capability: str
    cuda: str | None


class Provenance(JsonRecord):
    """provenance.json: what a run's weights were computed with."""

    scale: str
    method: str
    variant: str | None
    seed: int
    corpus: CorpusRecord
    steps: int
    samples_seen: int
    skipped_steps: int
    training_seconds: float
    """Without evaluation and checkpoints."""
    wall_seconds: float
    peak_memory_mib: float | None = None
    """The most that tensors took on rank 0's GPU; on a CPU, that its process took. null in files of earlier versions.
    """
    median_step_ms: float | None = None
    """Median over the logging windows of the last start, of the mean time of a step."""
    checkpoints: str
    """Name of the run's folder of checkpoints."""
    ranks: int
    platform: str
    """This and the following keys are those of the last start that trained; a repeated export changes nothing."""
    device: str
    cpu_capability: str
    cuda: str | None
    git_revision: str | None
    versions: dict[str, str]
    starts: list[Start]
    """What computed the weights, in order. Empty if an earlier version of this package did, which did not record it."""


Record = RunRecord | StepRecord | EpochRecord
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def line(record: Record) -> str:
    """The record as a line of metrics.jsonl."""
    return json.dumps(_finite(record.model_dump()), allow_nan=False) + "\n"


def parse(text: str, where: str) -> Record:
    """The record of one line. Raises AmorlipError, which begins with `where`, if it is not one."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in found["loc"][1:])
        raise AmorlipError(f"{where}: {f'{key}: ' if key else ''}{one_line(ValueError(found['msg']))}") from error


def read(path: Path) -> list[Record]:
    """The records of a finished run. Raises AmorlipError if the file cannot be read or a line is not a record."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AmorlipError(f"{path}: not UTF-8 text") from error
    lines = enumerate(text.splitlines(), start=1)
    return [parse(content, f"{path}, line {number}") for number, content in lines if content.strip()]


def read_unfinished(path: Path) -> list[Record]:
    """The records of a run that may have been killed while it wrote: up to the first line that is cut short.

    None if there is no file. Raises AmorlipError for a complete line that is not a record.
    """
    if not path.exists():
        return []
    records: list[Record] = []
    for number, content in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not content.endswith(b"\n") or not _is_json(content):
            break
        records.append(parse(content.decode(), f"{path}, line {number}"))
    return records


def _is_json(content: bytes) -> bool:
    try:
        parse_json(content.decode())  # a killed process may have cut a character
    except ValueError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
