"""Numbers printed in papers, from the csv files in config/paper/."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amorlip.common.errors import AmorlipError, one_line
from amorlip.config.experiment import Comparison, Reproduction
from amorlip.reporting.cost import read_benchmark
from amorlip.reporting.runs import RowKey
from amorlip.study import Study


def read_published(path: Path, columns: Sequence[str]) -> dict[RowKey, dict[str, float]]:
    """Published numbers for some columns.

    In the AmorLIP paper's Tables 2 and 3, the tasks behind the column "Retrieval" are not named: the default AmorLIP's
    28.10 is not Table 1's mean of two tasks, but CLIP's 19.86 is. So it has a key that no benchmark uses,
    `retrieval_of_tables_2_and_3`.

    Args:
        path: a csv file with one number per row: scale, method, variant (empty: none), column, value, unit.
        columns: keys of the tasks and averages that are wanted; others, such as step times, are left out.

    Returns:
        Row (see `ROW`), in the file's order → column → fraction; columns that are not printed are absent.

    Raises:
        AmorlipError: if the file cannot be read as such, or a wanted number is not in percent.
    """
    numbers: dict[RowKey, dict[str, float]] = {}
    for line in _lines(path, columns):
        printed = numbers.setdefault((line["scale"], line["method"], line["variant"]), {})
        printed[line["column"]] = float(line["value"]) / 100
    return numbers


def read_costs(path: Path, quantity: str) -> dict[RowKey, dict[str, float]]:
    """Row → `quantity` (in the file's unit) and `quantity`_over_clip (percent), where they are printed.

    Raises:
        AmorlipError: if the file cannot be read as such.
    """
    found: dict[RowKey, dict[str, float]] = {}
    for line in _lines(path, [quantity, f"{quantity}_over_clip"], units=("percent", "ms", "GiB")):
        row = found.setdefault((line["scale"], line["method"], line["variant"]), {})
        row[line["column"]] = float(line["value"])
    return found


@dataclass
class LaterWork:
    """What other authors got at one scale when they trained the same methods."""

    source: str
    """The authors and their paper."""
    corpus: str
    """Name of the corpus."""
    pairs: int | None
    """Training pairs that they had, where they say so."""
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    """Title of a method → column → fraction."""


def read_later_work(path: Path, columns: Sequence[str]) -> dict[str, LaterWork]:
    """Scale → other authors' results.

    Args:
        path: a csv file as of `read_published`, with the further columns corpus, pairs, source and title.
        columns: keys of the tasks and averages that are wanted.

    Raises:
        AmorlipError: as `read_published`.
    """
    found: dict[str, LaterWork] = {}
    for line in _lines(path, columns, "corpus", "pairs", "source", "title"):
        pairs = int(line["pairs"]) if line["pairs"] else None
        later = found.setdefault(line["scale"], LaterWork(line["source"], line["corpus"], pairs))
        later.rows.setdefault(line["title"], {})[line["column"]] = float(line["value"]) / 100
    return found


def check_files(study: Study) -> None:
    """Raise AmorlipError if a file of numbers that a table names cannot be read: before any job."""
    columns = [*study.benchmark.tasks, *study.benchmark.averages]
    for options in study.options.values():
        if isinstance(options, Comparison | Reproduction) and options.published is not None:
            read_published(study.folder / "paper" / f"{options.published}.csv", columns)
        if isinstance(options, Comparison) and options.cost_file is not None:
            read_benchmark(Path(options.cost_file))
        if isinstance(options, Comparison) and options.later_work is not None:
            read_later_work(study.folder / "paper" / f"{options.later_work}.csv", columns)


def _lines(
    path: Path, columns: Sequence[str], *further: str, units: Sequence[str] = ("percent",)
) -> list[dict[str, str]]:
    """The lines of the wanted columns, each with a number in one of `units`."""
    needed = ["scale", "method", "variant", "column", "value", "unit", *further]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if lacking := [key for key in needed if key not in (reader.fieldnames or [])]:
                raise AmorlipError(f"{path}: not a table of published numbers: the column {lacking[0]} is missing")
            lines = [line for line in reader if line["column"] in columns]
        for line in lines:
            if line["unit"] not in units:
                raise AmorlipError(f"{path}: a number in {line['unit']}, where {' or '.join(units)} is expected")
            float(line["value"])
            int(line.get("pairs") or 0)
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise AmorlipError(f"{path}: not a table of published numbers: {one_line(error)}") from error
    return lines
