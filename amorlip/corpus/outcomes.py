"""img2dataset's shards and its tables of outcomes: collecting and counting them, and which addresses to retry."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from amorlip.corpus.leftovers import STAGING
from amorlip.corpus.reasons import FINAL, NO_ANSWER, plain_reason

pc: Any = pyarrow.compute  # it makes its functions when it is imported, where a type checker does not see them
SCHEMA = pa.schema([("sample_id", pa.int64()), ("reason", pa.string())])


def collect(folder: Path) -> None:
    """Move the finished shards of all staging folders to the next free numbers in `folder`, and delete the rest.

    A shard and its table of outcomes belong together. Where one of the two was deleted, or a killed process did not
    move it, the other is deleted too, so that its addresses are downloaded again.
    """
    _drop_incomplete(folder)
    for staging in sorted(folder.glob(f"{STAGING}*")):
        for stats in sorted(staging.glob("shards/*_stats.json")):
            number = 1 + max((int(path.stem) for path in folder.glob("[0-9]*.parquet")), default=-1)
            tar = stats.with_name(stats.name.replace("_stats.json", ".tar"))
            # The table of outcomes is moved last: without it the shard does not count, and its number is used again.
            if tar.is_file():
                tar.replace(folder / f"{number:05d}.tar")
                tar.with_suffix(".parquet").replace(folder / f"{number:05d}.parquet")
        shutil.rmtree(staging)


def _drop_incomplete(folder: Path) -> None:
    for table in folder.glob("[0-9]*.parquet"):
        if not table.with_suffix(".tar").is_file():
            print(f"{table.with_suffix('.tar')} is missing; its pairs are downloaded again", flush=True)
            table.unlink()
    for tar in folder.glob("[0-9]*.tar"):
        if not tar.with_suffix(".parquet").is_file():
            tar.unlink()


def read(folder: Path) -> pa.Table:
    """The outcome of each address that was tried: columns sample_id, reason (null: downloaded)."""
    tables = [SCHEMA.empty_table()]
    for path in sorted(folder.glob("[0-9]*.parquet")):
        rows = pq.read_table(path, columns=["sample_id", "status", "error_message"])
        failed = pc.not_equal(rows["status"], "success")
        messages = pc.fill_null(rows["error_message"], "")
        reasons = pc.if_else(failed, messages, pa.scalar(None, pa.string()))
        tables.append(pa.table([rows["sample_id"], reasons], schema=SCHEMA))
    return pa.concat_tables(tables)


def settled(outcomes: pa.Table) -> pa.ChunkedArray:
    """Ids of the addresses not to be retried: downloaded, or failed permanently."""
    final = pc.match_substring_regex(outcomes["reason"], "|".join(map(re.escape, FINAL)))
    return outcomes.filter(pc.or_(pc.is_null(outcomes["reason"]), pc.fill_null(final, False)))["sample_id"]


def without(rows: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """The rows with other ids."""
    return rows.filter(pc.invert(pc.is_in(rows["sample_id"], value_set=ids)))


def account(wanted: pa.Table, outcomes: pa.Table, folder: Path) -> dict[str, Any]:
    """What download.json says about a list: counts over its addresses, of several attempts the last one's outcome."""
    done = outcomes.filter(pc.is_null(outcomes["reason"]))["sample_id"]
    failures = without(outcomes, done)
    failed = dict(zip(failures["sample_id"].to_pylist(), failures["reason"].to_pylist(), strict=True))
    reasons: Counter[str] = Counter()
    examples: dict[str, int] = {}
    for sample_id, message in failed.items():
        reason = plain_reason(message)
        reasons[reason] += 1
        examples.setdefault(reason, sample_id)
    if lost := len(wanted) - len(done) - len(failed):
        reasons[NO_ANSWER] = lost
    urls = wanted.filter(pc.is_in(wanted["sample_id"], value_set=pa.array(examples.values(), pa.int64())))
    url_of = dict(zip(urls["sample_id"].to_pylist(), urls["url"].to_pylist(), strict=True))
    return {
        "requested": len(wanted),
        "downloaded": len(done),
        "failed": dict(reasons.most_common()),
        "examples": {
            reason: f"{url_of.get(sample_id, sample_id)}: {failed[sample_id] or 'no reason given'}"
            for reason, sample_id in examples.items()
        },
        "shards": sorted(path.name for path in folder.glob("[0-9]*.tar")),
    }
