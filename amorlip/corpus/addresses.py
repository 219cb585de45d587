"""The addresses of one split, read from urls.parquet shard by shard: a list of ten million does not fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pyarrow import feather

from amorlip.common.errors import AmorlipError
from amorlip.common.parquet import damaged
from amorlip.corpus.division import FURTHER
from amorlip.corpus.urls import SCHEMA

pc: Any = pyarrow.compute  # it makes its functions when it is imported, where a type checker does not see them
ADVICE = "delete it and run the stage that made it again"
COLUMNS = ["sample_id", "caption", "url"]
"""In the order in which img2dataset writes them with each image."""


class Addresses:
    """The rows of urls.parquet that belong to a split, in their order, as shards of `samples_per_shard` rows.

    Raises AmorlipError if there are too many shards for their numbers.
    """

    def __init__(self, urls: Path, split: str, samples_per_shard: int) -> None:
        self.urls, self.split, self.length = urls, split, samples_per_shard
        self._check_ids()
        ids = [rows["sample_id"].to_numpy() for rows in self._rows(["sample_id"])]
        self.ids: np.ndarray = np.concatenate(ids or [np.empty(0, np.int64)])
        self.shards = math.ceil(len(self.ids) / samples_per_shard)
        if self.shards > FURTHER:
            raise AmorlipError(
                f"{urls}: {self.shards} shards of {samples_per_shard} pairs are more than {FURTHER}; increase the"
                " corpus's samples_per_shard"
            )

    def _check_ids(self) -> None:
        """A list of what became of each id is kept, so a single huge one would fill the memory."""
        with damaged(self.urls, ADVICE), pq.ParquetFile(self.urls) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise AmorlipError(f"{self.urls} has other columns than {', '.join(SCHEMA.names)}; {ADVICE}")
            rows = file.metadata.num_rows
        for ids in self._rows(["sample_id"]):
            found = pc.min_max(ids["sample_id"]).as_py()
            if len(ids) and not (ids["sample_id"].null_count == 0 and 0 <= found["min"] <= found["max"] < rows):
                raise AmorlipError(f"{self.urls} has a sample_id that is not the number of a row; {ADVICE}")

    def count(self, mask: np.ndarray) -> np.ndarray:
        """For each shard, its rows that are True in `mask` (one value for each row)."""
        starts = np.arange(0, len(mask), self.length)
        return np.add.reduceat(mask, starts, dtype=np.int64) if len(mask) else np.empty(0, np.int64)

    def write_lists(self, files: Mapping[int, int], mask: np.ndarray, folder: Path) -> None:
        """Write the rows (COLUMNS) of each shard in `files` (shard → number) that are True in `mask` to N.feather."""
        folder.mkdir()
        shard, pending = 0, pa.schema([]).empty_table()
        for rows in self._rows(COLUMNS):
            pending = pa.concat_tables([pending, rows]) if len(pending) else rows
            while len(pending) >= self.length:
                self._write_list(shard, pending, files, mask, folder)
                shard, pending = shard + 1, pending.slice(self.length)
        if len(pending):
            self._write_list(shard, pending, files, mask, folder)

    def _write_list(self, shard: int, rows: pa.Table, files: Mapping[int, int], mask: np.ndarray, folder: Path) -> None:
        if shard in files:
            wanted = pa.array(mask[shard * self.length : (shard + 1) * self.length])
            feather.write_feather(
                rows.slice(0, self.length).filter(wanted),
                folder / f"{files[shard]}.feather",
                compression="uncompressed",
            )

    def urls_of(self, ids: list[int]) -> dict[int, str]:
        """The addresses with these ids."""
        with damaged(self.urls, ADVICE):
            rows = pq.read_table(
                self.urls,
                columns=["sample_id", "url"],
                filters=[("sample_id", "in", ids)],
                page_checksum_verification=True,
            )
            found = dict(zip(rows["sample_id"].to_pylist(), rows["url"].to_pylist(), strict=True))
            if missing := set(ids) - found.keys():  # its statistics, by which Arrow skips rows, may be damaged
                raise ValueError(f"no row with the sample_id {min(missing)} is found")
        return found

    def _rows(self, columns: list[str]) -> Iterator[pa.Table]:
        with damaged(self.urls, ADVICE), pq.ParquetFile(self.urls, page_checksum_verification=True) as file:
            for batch in file.iter_batches(columns=[*columns, "split"]):
                rows = pa.Table.from_batches([batch])
                yield rows.filter(pc.equal(rows["split"], self.split)).select(columns)
