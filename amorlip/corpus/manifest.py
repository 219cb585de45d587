"""The stage `shards`: every pair of one split checked, counted and indexed; checksums compared when read."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from amorlip.corpus.records import CHECKED, DOWNLOAD, MANIFEST, Checked, DownloadRecord, Manifest, ShardEntry
from amorlip.corpus.shard_reader import NO_ID, ROW, Shard, read_shard

logger = logging.getLogger(__name__)

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
    # before they are read: one that changes meanwhile has another time afterwards
    statuses = {name: (folder / name).stat() for name in record.shards if (folder / name).is_file()}
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
    _note_compared(folder, manifest, statuses)
    manifest.model_copy(update={"index_sha256": sha256(folder / INDEX)}).write(folder / MANIFEST)
    print(f"{corpus_name}, {split}: {len(rows)} of {requested} pairs usable ({manifest.usable_fraction:.1%}; {lost})")


def read_manifest(folder: Path, *, compare: bool = True) -> Manifest:
    """The manifest of a split. Raises AmorlipError when it cannot be read or a shard is not the one it lists.

    `compare` checksums, where that is due: only of shards that were written or moved since the manifest, unless they
    have the size and the modification time with which they were compared before. So a copy is read whole once, and one
    that keeps times not at all.
    """
    path = folder / MANIFEST
    manifest = Manifest.read(path, "delete it and run the stage `shards` again")
    statuses = {entry.name: _status(folder / entry.name, entry, path) for entry in manifest.shards}
    if compare:
        known, made_ns = _compared(folder, manifest), path.stat().st_mtime_ns
        due = [
            entry
            for entry in manifest.shards
            if max((status := statuses[entry.name]).st_mtime_ns, status.st_ctime_ns) >= made_ns
            and known.get(entry.name) != _stamp(status)
        ]
        if due:
            _compare(folder, due)
            _note_compared(folder, manifest, statuses)
    return manifest


def _status(path: Path, entry: ShardEntry, manifest: Path) -> os.stat_result:
    """Raises AmorlipError for a shard that is missing or has another size."""
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
    return status


def _compare(folder: Path, entries: list[ShardEntry]) -> None:
    """Read shards whole. By threads, since training calls this, and checksums need no lock of Python's."""
    size = sum(entry.bytes for entry in entries)
    logger.info("comparing the checksums of %d shards in %s (%.1f GB)", len(entries), folder, size / 1e9)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(sha256, [folder / entry.name for entry in entries])
        for entry, digest in zip(entries, found, strict=True):
            if digest != entry.sha256:
                raise AmorlipError(
                    f"shard {folder / entry.name} does not match its checksum in {folder / MANIFEST}; restore the"
                    f" original, or delete {folder / MANIFEST} and run again"
                )


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _compared(folder: Path, manifest: Manifest) -> dict[str, tuple[int, int]]:
    """The shards' stamps when they were last compared with this manifest."""
    try:
        checked = Checked.read(folder / CHECKED)
    except AmorlipError:
        return {}
    return checked.shards if checked.digest == manifest.digest else {}


def _note_compared(folder: Path, manifest: Manifest, statuses: Mapping[str, os.stat_result]) -> None:
    """For the next start, as far as the folder can be written to."""
    shards = {name: _stamp(status) for name, status in statuses.items()}
    with contextlib.suppress(OSError):
        Checked(digest=manifest.digest, shards=shards).write(folder / CHECKED)


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
