"""Step time and memory of training over the baseline's, from the provenance.json of the runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import read_json
from amorlip.config.display import RunLabel
from amorlip.reporting.runs import RowKey, RunKey, by_row, shown_run
from amorlip.training.records import CostRecord, Provenance

Quantity = Literal["step_time", "memory"]
OTHER_DEVICE = "†"
"""Follows a number that was measured on another kind of device than the baseline's."""
FIELDS: dict[Quantity, str] = {"step_time": "median_step_ms", "memory": "peak_memory_mib"}
TITLES: dict[Quantity, str] = {"step_time": "Step time", "memory": "Memory"}
UNITS: dict[Quantity, str] = {"step_time": "ms", "memory": "MiB"}
WHAT: dict[Quantity, str] = {
    "step_time": "median time of a training step",
    "memory": "peak memory of training (of the GPU's tensors, or of the process on a CPU)",
}


COSTS = TypeAdapter(list[CostRecord])
"""What a file of `amorlip bench paper-table2` holds."""


@dataclass(frozen=True)
class Cost:
    """What the runs of one row cost."""

    value: float
    """Mean over the seeds; NaN where no run has recorded it."""
    over_baseline: float
    """Percent more than the baseline's mean at the same scale; NaN where one of them is unknown."""
    devices: tuple[str, ...]
    """On which its runs were trained."""
    same_device: bool
    """False if the baseline was trained on another kind of device."""


def column(quantity: Quantity) -> str:
    """Key of the percentage in csv files, published ones included."""
    return f"{quantity}_over_clip"


def costs(paths: Iterable[Path], runs: Sequence[RunLabel], baseline: str, quantity: Quantity) -> dict[RowKey, Cost]:
    """The cost of each row of `runs`.

    Raises:
        AmorlipError: if a file is of a run that is not shown, or repeats another's.
    """
    recorded = read_records(paths, runs)
    found: dict[RowKey, tuple[float, tuple[str, ...]]] = {}
    for row, group in by_row(runs).items():
        records = [recorded[run.key] for run in group if run.key in recorded]
        numbers = [value for record in records if (value := getattr(record, FIELDS[quantity])) is not None]
        found[row] = (statistics.mean(numbers) if numbers else math.nan, tuple(sorted({r.device for r in records})))
    return {row: _over(found, row, (row[0], baseline, "")) for row in found}


def benchmarked(path: Path, runs: Sequence[RunLabel], quantity: Quantity) -> dict[RowKey, Cost]:
    """The cost of each row of `runs` in a file of `amorlip bench paper-table2`; NaN where the file has no such row.

    Raises:
        AmorlipError: if it is not such a file.
    """
    found = {(record.scale, record.method, record.variant or ""): record for record in read_benchmark(path)}
    return {row: _measured(found.get(row), quantity) for row in by_row(runs)}


def read_benchmark(path: Path) -> list[CostRecord]:
    """The rows of a file of `amorlip bench paper-table2`. Raises AmorlipError if it is not such a file."""
    try:
        return COSTS.validate_python(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise AmorlipError(
            f"cost_file: {path}: {one_line(error)}; `amorlip bench paper-table2` writes such a file"
        ) from error


def _measured(record: CostRecord | None, quantity: Quantity) -> Cost:
    if record is None:
        return Cost(math.nan, math.nan, (), same_device=True)
    value, over = getattr(record, FIELDS[quantity]), getattr(record, column(quantity))
    return Cost(value, over, (record.device,), same_device=True)


def _over(found: Mapping[RowKey, tuple[float, tuple[str, ...]]], row: RowKey, reference: RowKey) -> Cost:
    value, devices = found[row]
    base, base_devices = found.get(reference, (math.nan, ()))
    return Cost(value, 100 * (value / base - 1), devices, devices == base_devices)


def read_records(paths: Iterable[Path], runs: Sequence[RunLabel]) -> dict[RunKey, Provenance]:
    """The provenance.json of each run. Raises AmorlipError for a run that is not shown, or that is there twice."""
    recorded: dict[RunKey, Provenance] = {}
    for path in paths:
        record = Provenance.read(path)
        key = shown_run((record.scale, record.method, record.variant or "", record.seed), runs, path)
        if key in recorded:
            raise AmorlipError(f"{path}: has the same run as another file")
        recorded[key] = record
    return recorded


def text(cost: Cost, decimals: int, missing: str) -> str:
    """The percentage, marked if the devices differ."""
    if math.isnan(cost.over_baseline):
        return missing
    return f"{cost.over_baseline:.{decimals}f}{'' if cost.same_device else OTHER_DEVICE}"


def notes(found: Mapping[RowKey, Cost], runs: Sequence[RunLabel], baseline: str, quantity: Quantity) -> list[str]:
    """What the percentage is, the baseline's own number, and which rows used other devices."""
    rows = by_row(runs)
    titles = {row: group[0] for row, group in rows.items()}
    own = [
        f"{titles[row].title}, {titles[row].scale_title}: {cost.value:,.2f} {UNITS[quantity]} on {_listed(cost)}"
        for row, cost in found.items()
        if row[1:] == (baseline, "") and not math.isnan(cost.value)
    ]
    name = next((label.title for row, label in titles.items() if row[1:] == (baseline, "")), f"'{baseline}'")
    said = f"{TITLES[quantity]}: {WHAT[quantity]}, in percent over {name}'s ({'; '.join(own) or 'not recorded'})."
    other = [
        f"{titles[row].title} on {_listed(cost)}"
        for row, cost in found.items()
        if not cost.same_device and not math.isnan(cost.over_baseline)
    ]
    marked = f"{OTHER_DEVICE}: not on the kind of device that trained {name}: {'; '.join(other)}."
    return [said, *([marked] if other else [])]


def _listed(cost: Cost) -> str:
    return " and ".join(cost.devices)
