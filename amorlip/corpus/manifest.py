"""The stage `shards`: every pair of one split checked, counted and indexed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.files import atomic_path, sha256, write_json
from amorlip.common.pool import map_on_all_cores
from amorlip.config.corpus import Corpus
from amorlip.corpus.download import RECORD
from amorlip.corpus.shard_reader import NO_ID, ROW, Shard, read_shard

MANIFEST = "manifest.json"
INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("sample_id", pa.int64()),
        ("shard", pa.int32()),
        ("image_offset", pa.int64()),
        ("image_bytes", pa.int32()),
        ("caption_offset", pa.int64()),
        ("caption_bytes", pa.int32()),
    ]
)


def build_manifest(corpus_name: str, corpus: Corpus, split: str, folder: Path) -> None:
    """Check every pair in `folder`'s shards; write index.parquet (one row a usable pair) and manifest.json.

    The index holds the byte ranges of each pair's image and caption inside its shard, so that a pair is read without
    reading what lies before it. Rows are in the order of the shards, and of sample_id within a shard. Raises
    AmorlipError for a missing or broken shard, and when fewer than `min_yield` of the requested pairs are usable.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    record = _read_record(folder)
    shards = map_on_all_cores(read_shard, [folder / name for name in record["shards"]])
    refused = sum((shard.refused for shard in shards), Counter())
    rows, numbers = _usable_rows(shards, refused)
    found = sum(shard.found for shard in shards)
    requested = found if record["requested"] is None else record["requested"]
    samples = np.bincount(numbers, minlength=len(shards))
    manifest = {
        "corpus": corpus_name,
        "split": split,
        "requested": requested,
        "downloaded": found,
        "failed": record["failed"],
        "yield": len(rows) / requested if requested else 0.0,
        "samples": len(rows),
        "refused": dict(refused.most_common()),
        "max_sample_id": int(rows["sample_id"].max(initial=-1)),
        "digest": _digest(shards, rows),
        "shards": [
            {"name": name, "samples": int(count), "bytes": shard.bytes, "sha256": shard.sha256}
            for name, count, shard in zip(record["shards"], samples, shards, strict=True)
        ],
    }
    _check_yield(manifest, corpus.min_yield)
    _write_index(rows, numbers, folder / INDEX)
    write_json(folder / MANIFEST, manifest)
    print(
        f"{corpus_name}, {split}: {len(rows)} of {requested} pairs usable ({manifest['yield']:.1%}; {_lost(manifest)})"
    )


def check_shard(path: Path, shard: dict[str, Any], manifest: Path) -> None:
    """Raises AmorlipError naming the shard at `path` if it is not the one that `manifest` lists as `shard`.

    Only a shard that was written or moved since the manifest is read whole, for its digest.
    """
    if not path.is_file():
        raise AmorlipError(f"shard {path} is missing, but {manifest} lists it; delete {manifest} and run again")
    status = path.stat()
    if status.st_size != shard["bytes"]:
        raise AmorlipError(
            f"shard {path} has {status.st_size} bytes, {manifest} says {shard['bytes']}; delete {manifest} and run"
            " again"
        )
    newer = max(status.st_mtime_ns, status.st_ctime_ns) >= manifest.stat().st_mtime_ns
    if newer and sha256(path) != shard["sha256"]:
        raise AmorlipError(
            f"shard {path} has another digest than {manifest} says; put the old one back, or delete {manifest} and run"
            " again"
        )


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AmorlipError(
            f"{folder / RECORD} cannot be read: {one_line(error)}; run the stage `download` first"
        ) from error


def _usable_rows(shards: Sequence[Shard], refused: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """All usable pairs (ROW) in the index's order with the position of their shard; repeated ids are refused."""
    _number(shards)
    numbers = np.repeat(np.arange(len(shards)), [len(shard.rows) for shard in shards])
    rows = np.concatenate([shard.rows for shard in shards] or [np.empty(0, ROW)])
    order = np.lexsort((rows["sample_id"], numbers))
    rows, numbers = rows[order], numbers[order]
    first = np.zeros(len(rows), bool)
    first[np.unique(rows["sample_id"], return_index=True)[1]] = True
    if repeated := int((~first).sum()):
        refused["duplicate sample_id"] += repeated
    return rows[first], numbers[first]


def _number(shards: Sequence[Shard]) -> None:
    """Give pairs without an id, those of a mirror, their place in the corpus as id, in place."""
    unnumbered = sum(int((shard.rows["sample_id"] == NO_ID).sum()) for shard in shards)
    if not unnumbered:
        return
    if unnumbered < (total := sum(len(shard.rows) for shard in shards)):
        raise AmorlipError(
            f"{total - unnumbered} of {total} pairs have a sample_id in their json member, the others none; either all"
            " or none must have one"
        )
    before = 0
    for shard in shards:
        shard.rows["sample_id"] = before + shard.rows["ordinal"]
        before += shard.found


def _digest(shards: Sequence[Shard], rows: np.ndarray) -> str:
    digest = hashlib.sha256("".join(shard.sha256 for shard in shards).encode())
    digest.update(np.ascontiguousarray(rows["sample_id"]).astype("<i8").tobytes())
    return digest.hexdigest()


def _check_yield(manifest: dict[str, Any], least: float) -> None:
    if manifest["samples"] and manifest["yield"] >= least:
        return
    raise AmorlipError(
        f"corpus {manifest['corpus']}, split {manifest['split']}: only {manifest['samples']} of"
        f" {manifest['requested']} pairs ({manifest['yield']:.1%}) can be used, min_yield is {least:.1%}"
        f" ({_lost(manifest)}); delete download.json to retry the failures, use the mirror,"
        " or lower min_yield"
    )


def _lost(manifest: dict[str, Any]) -> str:
    """The pairs that cannot be used, by reason."""
    reasons = [*manifest["failed"].items(), *manifest["refused"].items()]
    return ", ".join(f"{reason}: {n}" for reason, n in reasons) or "none was refused"


def _write_index(rows: np.ndarray, numbers: np.ndarray, path: Path) -> None:
    columns = {**{name: rows[name] for name in ROW.names}, "shard": numbers}
    arrays = [pa.array(np.ascontiguousarray(columns[field.name]), field.type) for field in INDEX_SCHEMA]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, schema=INDEX_SCHEMA), temporary, write_page_checksum=True)
