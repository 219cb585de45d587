"""Numbers printed in papers, from the csv files in config/paper/."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from amorlip.common.errors import AmorlipError, one_line
from amorlip.reporting.runs import RowKey


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
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["column"] not in columns:
                    continue
                if line["unit"] != "percent":
                    raise AmorlipError(f"{path}: a number in {line['unit']}, where percent is wanted")
                printed = numbers.setdefault((line["scale"], line["method"], line["variant"]), {})
                printed[line["column"]] = float(line["value"]) / 100
    except OSError as error:
        raise AmorlipError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise AmorlipError(f"{path}: not a table of published numbers: {one_line(error)}") from error
    return numbers
