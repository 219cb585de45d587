"""The loader's start, memory and order for corpora of up to 10^9 pairs, without a picture.

The files are sparse: an index of zeros, and shards of which only names and sizes are read.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from amorlip.bench import report
from amorlip.bench.report import Column
from amorlip.common.errors import AmorlipError
from amorlip.common.files import sha256
from amorlip.common.resident import resident_mib
from amorlip.corpus.manifest import INDEX, INDEX_SCHEMA
from amorlip.corpus.records import MANIFEST, Manifest, ShardEntry
from amorlip.loader.index import COPY, COPY_RECORD, ROW, CopyRecord, write_rows
from amorlip.loader.loader import PairLoader, prepare
from amorlip.objectives import per_sample

BATCH, RANKS = 8192, 8
BATCHES = 1000
PAIRS_PER_SHARD = 10_000
SHARD_BYTES = 1 << 20
TOKENS = 77
PART = 1 << 20
"""Rows that are written at once."""


@dataclass(frozen=True)
class Case:
    """A corpus of so many pairs."""

    name: str
    pairs: int


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    case: str
    pairs: int
    check_s: float
    open_s: float
    batches_s: float
    own_mib: float
    index_gib: float
    per_sample_mib: float


CASES = [Case("1e7", 10**7), Case("1e8", 10**8), Case("1e9", 10**9)]
HEADING = f"""\
A rank's loader without pictures, one of {RANKS}, batches of {BATCH} pairs: the check of manifest and index at the start
(once a machine), opening them (every rank), and the order and index rows of {BATCHES} batches. Own memory: what the
process takes for itself in all of this; the index is in the page cache, which all processes share."""
COLUMNS = [
    Column("pairs", "{case}"),
    Column("check [s]", "{check_s:.1f}"),
    Column("open [s]", "{open_s:.2f}"),
    Column("1,000 batches [s]", "{batches_s:.2f}"),
    Column("own memory [MiB]", "{own_mib:.0f}"),
    Column("index [GiB]", "{index_gib:.1f}"),
    Column("averages per sample, per rank [MiB]", "{per_sample_mib:.0f}"),
]


def run(
    output_json: Path, output_md: Path, cases: Sequence[Case] | None = None, only: Sequence[str] | None = None
) -> list[Result]:
    """Measure `cases`, each in a new process; write both files after each. `only`: patterns of names to measure.

    Raises AmorlipError at the end if cases failed, naming them.
    """
    every = cases or CASES
    todo = report.selected(every, [case.name for case in every], only)
    results: list[Result] = []
    failures = report.Failures()
    for number, case in enumerate(todo, start=1):
        with failures.noted(case.name):
            results.append(_in_new_process(case))
            report.progress(number, len(todo), f"{case.name}: {results[-1].batches_s:.2f} s for {BATCHES} batches")
        report.write(output_json, output_md, results, HEADING, COLUMNS)
    failures.report(output_json)
    return results


def _in_new_process(case: Case) -> Result:
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as scratch:
        write_corpus(Path(scratch), case.pairs)
        process = context.Process(target=_measure, args=(child, case, Path(scratch)))
        process.start()
        child.close()
        try:
            return parent.recv()
        except EOFError:
            raise AmorlipError(f"the process that measures {case.name} ended early; run it again") from None
        finally:
            process.join()


def _measure(pipe: Any, case: Case, folder: Path) -> None:
    torch.set_num_threads(1)
    before = resident_mib("RssAnon")
    start = time.perf_counter()
    prepare(folder)
    checked = time.perf_counter()
    loader = PairLoader(
        folder, batch_size=BATCH, epochs=2, seed=0, world_size=RANKS, prepared=True,
        transform=lambda pixels, _: torch.from_numpy(pixels), tokenizer=_tokens,
    )  # fmt: skip
    opened = time.perf_counter()
    first = loader.steps_per_epoch // 2
    for number in range(BATCHES):
        _, rows = loader.plan.rows(first + number % first)
        for name in INDEX_SCHEMA.names:
            getattr(loader.index, name)[rows]
    done = time.perf_counter()
    pipe.send(
        Result(
            case=case.name,
            pairs=case.pairs,
            check_s=checked - start,
            open_s=opened - checked,
            batches_s=done - opened,
            own_mib=resident_mib("RssAnon") - before,
            index_gib=(folder / COPY).stat().st_size / 2**30,
            per_sample_mib=2 * 4 * per_sample.columns(case.pairs, RANKS) / 2**20,
        )
    )


def _tokens(texts: list[str]) -> torch.Tensor:
    return torch.zeros(len(texts), TOKENS, dtype=torch.int64)


def write_corpus(folder: Path, pairs: int) -> None:
    """Files of a corpus of so many pairs, which take hardly any of the disk."""
    entries = []
    for number, start in enumerate(range(0, pairs, PAIRS_PER_SHARD)):
        name = f"{number:06d}.tar"
        with (folder / name).open("wb") as file:
            file.truncate(SHARD_BYTES)
        samples = min(PAIRS_PER_SHARD, pairs - start)
        entries.append(ShardEntry(name=name, samples=samples, bytes=SHARD_BYTES, sha256="0" * 64))
    digest = _write_index(folder, pairs)
    Manifest(
        corpus="zeros", split="train", requested=pairs, downloaded=pairs, failed={}, usable_fraction=1.0,
        samples=pairs, refused={}, max_sample_id=pairs - 1, digest="0" * 64, index_sha256=digest, shards=entries,
    ).write(folder / MANIFEST)  # fmt: skip


def _write_index(folder: Path, pairs: int) -> str:
    """index.parquet and its copy, both of zeros; returns the checksum of the former."""
    with pq.ParquetWriter(folder / INDEX, INDEX_SCHEMA) as writer:
        for start in range(0, pairs, PART):
            part = np.zeros(min(PART, pairs - start), ROW)
            writer.write_table(pa.table({name: part[name] for name in INDEX_SCHEMA.names}, schema=INDEX_SCHEMA))
    with (folder / COPY).open("wb") as file, tempfile.TemporaryFile(dir=folder) as nothing:
        rows = np.memmap(nothing, ROW, "w+", shape=pairs)  # memory for 10^9 rows would be refused
        write_rows(rows, None, pa.PythonFile(_Sparse(file), mode="w"))
    digest = sha256(folder / INDEX)
    CopyRecord(index_sha256=digest, sha256=sha256(folder / COPY)).write(folder / COPY_RECORD)
    return digest


class _Sparse:
    """A file in which rows of zeros become holes."""

    closed = False

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if size >= PART:
            self.file.truncate(self.file.seek(size, 1))
        else:
            self.file.write(data)
        return size

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        pass
