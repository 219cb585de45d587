"""Parquet files that are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from amorlip.common.errors import AmorlipError, one_line


@contextmanager
def damaged(path: Path, advice: str) -> Iterator[None]:
    """Turn what Arrow raises for a damaged file into one line that ends with `advice`."""
    try:
        yield
    except (OSError, ValueError, LookupError, OverflowError, pa.ArrowException) as error:
        raise AmorlipError(f"{path} cannot be read: {one_line(error)}; {advice}") from error
