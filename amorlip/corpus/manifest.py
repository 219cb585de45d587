"""The stage `shards`: every pair of one split checked, counted and indexed; checksums compared when read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amorlip.common.errors import AmorlipError
from amorlip.common.files import atomic_path, sha256
from amorlip.common.pool import map_on_all_cores
from amorlip.common.printable import printable
from amorlip.common.transparency import Transparency
from amorlip.config.corpus import Corpus
from amorlip.corpus.records import DOWNLOAD, MANIFEST, DownloadRecord, Manifest, ShardEntry
from amorlip.corpus.shard_reader import NO_ID, ROW, Shard, read_shard

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


MOST_ENDINGS = 5
"""Most extensions of ignored files in a message."""
MOST_ENDING = 20
"""Characters of an extension in a message."""


def build_manifest(corpus_name: str, corpus: Corpus, split: str, folder: Path) -> None:
    """Check every pair in `folder`'s shards; write index.parquet (one row per usable pair) and manifest.json.

    The index holds the byte ranges of each pair's image and caption inside its shard, so that a pair is read without
    reading what is before it. Rows are in the order of the shards, and of sample_id within a shard. Raises
    AmorlipError for a missing or broken shard, and when fewer than `min_yield` of the requested pairs are usable.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    record = DownloadRecord.read(folder / DOWNLOAD, "run the stage `download` first")
    shards = map_on_all_cores(read_shard, [folder / name for name in record.shards])
    refused = sum((shard.refused for shard in shards), Counter[str]())
    rows, numbers = _usable_rows(shards, refused)
    found = sum(shard.found for shard in shards)
    requested = found if record.requested is None else record.requested
    samples = np.bincount(numbers, minlength=len(shards))
    manifest = Manifest(
        corpus=corpus_name,
        split=split,
        requested=requested,
        downloaded=found,
        failed=record.failed,
        usable_fraction=len(rows) / requested if requested else 0.0,
        samples=len(rows),
        refused=dict(refused.most_common()),
        max_sample_id=int(rows["sample_id"].max(initial=-1)),
        transparency=corpus.transparency,
        digest=_digest(shards, rows, corpus.transparency),
        shards=[
            ShardEntry(name=name, samples=int(count), bytes=shard.bytes, sha256=shard.sha256)
            for name, count, shard in zip(record.shards, samples, shards, strict=True)
        ],
    )
    _check_pin(manifest, corpus, folder)
    lost = manifest.lost() + _ignored(shards)
    _check_yield(manifest, corpus.min_yield, lost)
    _write_index(rows, numbers, folder / INDEX)
    manifest.model_copy(update={"index_sha256": sha256(folder / INDEX)}).write(folder / MANIFEST)
    print(f"{corpus_name}, {split}: {len(rows)} of {requested} pairs usable ({manifest.usable_fraction:.1%}; {lost})")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a split. Raises AmorlipError when it cannot be read or a shard is not the one it lists."""
    path = folder / MANIFEST
    manifest = Manifest.read(path, "delete it and run the stage `shards` again")
    for entry in manifest.shards:
        _check_shard(folder / entry.name, entry, path)
    return manifest


def _check_shard(path: Path, entry: ShardEntry, manifest: Path) -> None:
    """Only shards written or moved since the manifest are read whole, for their checksums."""
    if not path.is_file():
        raise AmorlipError(
            f"shard {path} is missing, but {manifest} lists it; delete {manifest} and {DOWNLOAD} there, and run again"
        )
    status = path.stat()
    if status.st_size != entry.bytes:
        raise AmorlipError(
            f"shard {path} has {status.st_size} bytes, but {manifest} lists {entry.bytes}; restore the original, or"
            f" delete {manifest} and run again"
        )
    newer = max(status.st_mtime_ns, status.st_ctime_ns) >= manifest.stat().st_mtime_ns
    if newer and sha256(path) != entry.sha256:
        raise AmorlipError(
            f"shard {path} does not match its checksum in {manifest}; restore the original, or delete {manifest} and"
            " run again"
        )


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


def _digest(shards: Sequence[Shard], rows: np.ndarray, transparency: Transparency) -> str:
    digest = hashlib.sha256("".join(shard.sha256 for shard in shards).encode())
    digest.update(np.ascontiguousarray(rows["sample_id"]).astype("<i8").tobytes())
    if transparency != "white":  # so that the digests of all corpora from before this key stay as they are
        digest.update(transparency.encode())
    return digest.hexdigest()


def _check_pin(manifest: Manifest, corpus: Corpus, folder: Path) -> None:
    if corpus.source != "mirror" or corpus.mirror is None:
        return
    key = f"{manifest.split}_sha256"
    if (pinned := getattr(corpus.mirror, key)) not in (None, manifest.content_sha256()):
        raise AmorlipError(
            f"{folder}: the shards of {corpus.mirror.repository} have the checksum {manifest.content_sha256()}, but"
            f" {pinned} is pinned; to accept them, delete the key mirror.{key}"
        )


def _check_yield(manifest: Manifest, least: float, lost: str) -> None:
    if manifest.samples and manifest.usable_fraction >= least:
        return
    raise AmorlipError(
        f"corpus {manifest.corpus}, split {manifest.split}: only {manifest.samples} of {manifest.requested} pairs"
        f" ({manifest.usable_fraction:.1%}) can be used, min_yield is {least:.1%} ({lost}); delete {DOWNLOAD} to retry"
        " the failures, use the mirror, or lower min_yield"
    )


def _ignored(shards: Sequence[Shard]) -> str:
    """The files that belong to no pair, by extension."""
    counts = sum((shard.ignored for shard in shards), Counter[str]())
    listed = ", ".join(f"{n} .{printable(ending, MOST_ENDING)}" for ending, n in counts.most_common(MOST_ENDINGS))
    return f"; other files ignored: {listed}{', …' if len(counts) > MOST_ENDINGS else ''}" if counts else ""


def _write_index(rows: np.ndarray, numbers: np.ndarray, path: Path) -> None:
    columns = {**{name: rows[name] for name in rows.dtype.names or ()}, "shard": numbers}
    arrays = [pa.array(np.ascontiguousarray(columns[field.name]), field.type) for field in INDEX_SCHEMA]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, schema=INDEX_SCHEMA), temporary, write_page_checksum=True)
