"""Tables of evaluation sets: csv files whose cells hold lists of texts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from amorlip.common.errors import AmorlipError, one_line, shortened
from amorlip.common.limits import MOST_TEXT_BYTES, read_file


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A csv file with every cell as text. Raises AmorlipError if it is unreadable, empty or lacks one of `columns`."""
    try:
        rows = pd.read_csv(io.BytesIO(read_file(path)), dtype=str, keep_default_na=False, na_filter=False)
    except (OSError, ValueError) as error:
        raise AmorlipError(f"{path} cannot be read ({one_line(error)})") from error
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise AmorlipError(f"{path} lacks the column {missing[0]}; it has {shortened(', '.join(rows.columns))}")
    if rows.empty:
        raise AmorlipError(f"{path} has no rows")
    return rows


def list_of_texts(text: str, parse: Callable[[str], Any], where: str) -> list[str]:
    """The list in a cell; `parse` is `json.loads` or `ast.literal_eval`. Raises AmorlipError if there is none."""
    if len(text) > MOST_TEXT_BYTES:
        raise AmorlipError(f"{where} has {len(text)} characters, more than {MOST_TEXT_BYTES}")
    try:
        values = parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise AmorlipError(f"{where} is not a list of texts: {text[:60]!r}") from error
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise AmorlipError(f"{where} is not a list of texts: {text[:60]!r}")
    return values


def single(folder: Path, pattern: str) -> Path:
    """The only file in `folder` that matches. Raises AmorlipError if there are none or several."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise AmorlipError(f"{folder} holds {len(found)} files {pattern}, expected one; download the set again")
    return found[0]
