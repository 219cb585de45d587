"""What all measurements share: choosing cases, failing ones, alternating sides, the machine, and the two files."""

from __future__ import annotations

import fnmatch
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from amorlip.common.errors import AmorlipError, lacks_memory, one_line, unknown_key
from amorlip.common.files import DISK_ERRORS, write_json, write_text


class Column(NamedTuple):
    """A column of a table: `template` is filled with a result's fields, as in "{ms:.1f}"."""

    title: str
    template: str
    is_number: bool = True


def alternating_medians(
    measures: Sequence[Callable[[], float]], rounds: int, time_limit_s: float = float("inf")
) -> list[float]:
    """The median over rounds of what each of `measures` returns; a round calls each once, in order.

    So other load on the machine, which varies, affects all of them. After `time_limit_s` no new round begins, but three
    are done at least (or `rounds`, if fewer).
    """
    found, start = [], time.perf_counter()
    while len(found) < min(3, rounds) or (len(found) < rounds and time.perf_counter() - start < time_limit_s):
        found.append([measure() for measure in measures])
    return [statistics.median(column) for column in zip(*found, strict=True)]


def machine() -> str:
    """Date, processor, cores, load, GPU, PyTorch and threads, in one line."""
    load = os.getloadavg()[0]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores (load {load:.1f}){gpu}; PyTorch"
        f" {torch.__version__}, {torch.get_num_threads()} CPU threads."
    )


C = TypeVar("C")


def selected(cases: Sequence[C], names: Sequence[str], patterns: Sequence[str] | None) -> list[C]:
    """Those of `cases` whose name fits one of the `patterns`, in which `*` stands for any text; None: all.

    Raises AmorlipError for a pattern that fits none.
    """
    if patterns is None:
        return list(cases)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise AmorlipError(f"--cases: {unknown_key(pattern, names, 'case')}")
    return [
        case
        for case, name in zip(cases, names, strict=True)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]


class Failures:
    """Cases that could not be measured: the others still are, and the end says which."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    @contextmanager
    def noted(self, case: str) -> Iterator[None]:
        """An error in the block, other than a full disk, becomes a failure of `case`."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            if not isinstance(error, AmorlipError) and not lacks_memory(error):
                traceback.print_exc()
            self.found[case] = one_line(error)
            print(f"{case} failed: {self.found[case]}", file=sys.stderr, flush=True)

    def report(self, output: Path) -> None:
        """Raises AmorlipError naming each case that failed; `output` has the results of the others."""
        if self.found:
            reasons = "; ".join(f"{case}: {reason}" for case, reason in self.found.items())
            raise AmorlipError(f"{len(self.found)} cases failed, the results of the others are in {output}: {reasons}")


def progress(number: int, total: int, line: str) -> None:
    """Print on stderr that `number` of `total` cases are measured."""
    print(f"{number}/{total} {line}", file=sys.stderr, flush=True)


def markdown(heading: str, columns: Sequence[Column], results: Sequence[dict[str, Any]]) -> str:
    """A paragraph and a table, one row per result."""
    rows = [[column.title for column in columns], ["---:" if column.is_number else "---" for column in columns]]
    rows += [[column.template.format(**result) for column in columns] for result in results]
    return "\n".join([heading, "", *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def write(output_json: Path, output_md: Path, results: Sequence[Any], heading: str, columns: Sequence[Column]) -> None:
    """Write `results` (dataclasses) as a list of objects, and as a table below `heading` and the machine."""
    objects = [asdict(result) for result in results]
    write_json(output_json, objects)
    write_text(output_md, markdown(f"{heading}\n{machine()}", columns, objects))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"
