"""The stage `download`: the pairs of one split as WebDataset shards, from addresses or from ready-made shards.

img2dataset writes into a folder of its own, from which finished shards are moved into place: a run that was killed
leaves no half shard behind, and what it had finished is kept. Each later pass asks only for what is still missing.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from amorlip.common import hub
from amorlip.common.errors import AmorlipError
from amorlip.common.files import locked, sha256, write_text
from amorlip.config.corpus import Corpus, MirrorSource
from amorlip.corpus import img2dataset_call
from amorlip.corpus.records import DOWNLOAD, DownloadRecord

SOURCE = ".source"
STAGING = ".staging-"
MOST_REASONS = 20
BOMB = "CV_IO_MAX_IMAGE_PIXELS"
# Failures that another try will not mend.
FINAL = (
    "HTTP Error 404",
    "HTTP Error 410",
    "Use of image disallowed",
    "image too small",
    "No such file or directory",
    BOMB,
)


def download(corpus: Corpus, split: str, urls: Path | None, folder: Path) -> None:
    """Download the pairs of `split` (`train`|`validation`) into `folder`/NNNNN.tar, then write download.json.

    download.json: source, split, requested (null for a mirror: its shards are all there is), downloaded, failed
    (reason → count) and the shards' names; a mirror's also names the commit. What a former call has downloaded is
    kept; only what is missing is asked for again. Raises AmorlipError when the mirror cannot be had or a shard not be
    written, and when another process downloads into `folder`.
    """
    with locked(folder):
        (folder / DOWNLOAD).unlink(missing_ok=True)
        if corpus.source == "mirror":
            record = _mirror(corpus.mirror, split, folder)
        else:
            record = _addresses(corpus, split, urls, folder)
        DownloadRecord(source=corpus.source, split=split, **record).write(folder / DOWNLOAD)


def _mirror(source: MirrorSource, split: str, folder: Path) -> dict[str, Any]:
    pattern = getattr(source, split)
    # A repository without validation shards lends some of its training shards.
    others = [source.validation] if split == "train" else []
    commit = hub.download(source.repository, source.revision, folder, [pattern], others)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.tar"))
    shards = [name for name in names if fnmatch(name, pattern) and not any(fnmatch(name, other) for other in others)]
    return {"revision": commit, "requested": None, "downloaded": None, "failed": {}, "shards": shards}


def _addresses(corpus: Corpus, split: str, urls: Path, folder: Path) -> dict[str, Any]:
    _forget_other_lists(corpus, split, urls, folder)
    wanted = pq.read_table(urls, filters=[("split", "=", split)], columns=["sample_id", "url", "caption"])
    for number in range(1 + corpus.download.retries):
        _collect(folder)
        missing = _without(wanted, _settled(_outcomes(folder)))
        if not len(missing):
            break
        print(f"{split}: pass {number + 1}, {len(missing)} of {len(wanted)} addresses", flush=True)
        _pass(corpus, missing, folder)
    _collect(folder)
    return _account(wanted, _outcomes(folder), folder)


def _forget_other_lists(corpus: Corpus, split: str, urls: Path, folder: Path) -> None:
    """Delete shards that were made from another list or stored in another way."""
    stored = f"{split} {sha256(urls)} {corpus.samples_per_shard} {corpus.image.model_dump_json()}"
    source = folder / SOURCE
    if source.is_file() and source.read_text(encoding="utf-8") == stored:
        return
    for staging in folder.glob(f"{STAGING}*"):
        shutil.rmtree(staging)
    for path in [*folder.glob("[0-9]*.tar"), *folder.glob("[0-9]*.parquet")]:
        path.unlink()
    write_text(source, stored)


def _pass(corpus: Corpus, rows: pa.Table, folder: Path) -> None:
    """One try at the addresses in `rows`; what came of it lies in a staging folder."""
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=STAGING))
    listed = staging / "list.parquet"
    pq.write_table(rows, listed)
    img2dataset_call.run(listed, staging / "shards", corpus.image, corpus.download, corpus.samples_per_shard)
    # img2dataset prints the error of a shard that it could not write, and goes on as if nothing had happened.
    begun, finished = math.ceil(len(rows) / corpus.samples_per_shard), len([*staging.glob("shards/*_stats.json")])
    if finished < begun:
        free = shutil.disk_usage(folder).free / 2**20
        raise AmorlipError(
            f"{begun - finished} of {begun} shards could not be written to {folder} ({free:.0f} MiB free; the log above"
            " says why); mend that and run again, what was finished is kept"
        )


def _collect(folder: Path) -> None:
    """Move the finished shards of all staging folders to the next free numbers in `folder`, and delete the rest."""
    for staging in sorted(folder.glob(f"{STAGING}*")):
        for stats in sorted(staging.glob("shards/*_stats.json")):
            number = 1 + max((int(path.stem) for path in folder.glob("[0-9]*.parquet")), default=-1)
            tar = stats.with_name(stats.name.replace("_stats.json", ".tar"))
            # The table of outcomes goes last: without it the shard does not count, and its number is taken again.
            if tar.is_file():
                tar.replace(folder / f"{number:05d}.tar")
                tar.with_suffix(".parquet").replace(folder / f"{number:05d}.parquet")
        shutil.rmtree(staging)
    for tar in folder.glob("[0-9]*.tar"):
        if not tar.with_suffix(".parquet").is_file():
            tar.unlink()


def _outcomes(folder: Path) -> pa.Table:
    """What became of each address that was tried: columns sample_id, reason (null: downloaded)."""
    schema = pa.schema([("sample_id", pa.int64()), ("reason", pa.string())])
    tables = [schema.empty_table()]
    for path in sorted(folder.glob("[0-9]*.parquet")):
        rows = pq.read_table(path, columns=["sample_id", "status", "error_message"])
        failed = pc.not_equal(rows["status"], "success")
        said = pc.fill_null(rows["error_message"], "no reason given")
        reasons = pc.if_else(failed, said, pa.scalar(None, pa.string()))
        tables.append(pa.table([rows["sample_id"], reasons], schema=schema))
    return pa.concat_tables(tables)


def _settled(outcomes: pa.Table) -> pa.ChunkedArray:
    """Ids that need no other try: downloaded, or failed for good."""
    final = pc.match_substring_regex(outcomes["reason"], "|".join(map(re.escape, FINAL)))
    return outcomes.filter(pc.or_(pc.is_null(outcomes["reason"]), pc.fill_null(final, False)))["sample_id"]


def _without(rows: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["sample_id"], value_set=ids)))


def _account(wanted: pa.Table, outcomes: pa.Table, folder: Path) -> dict[str, Any]:
    """Counts over the addresses; of several tries at one, the last counts."""
    done = outcomes.filter(pc.is_null(outcomes["reason"]))["sample_id"]
    failed = dict(zip(*(_without(outcomes, done)[name].to_pylist() for name in ("sample_id", "reason")), strict=True))
    reasons = Counter(plain_reason(reason) for reason in failed.values())
    if lost := len(wanted) - len(done) - len(failed):
        reasons["no answer recorded"] = lost
    common = dict(reasons.most_common(MOST_REASONS))
    if rest := reasons.total() - sum(common.values()):
        common["other"] = rest
    shards = sorted(path.name for path in folder.glob("[0-9]*.tar"))
    return {"requested": len(wanted), "downloaded": len(done), "failed": common, "shards": shards}


def plain_reason(message: str) -> str:
    """An error message without what differs from address to address, so that equal failures count as one."""
    if BOMB in message:
        return "image has too many pixels"
    message = re.sub(r"^<urlopen error (.*)>$", r"\1", " ".join(message.split()))
    message = re.sub(r"\[SSL: [A-Z_]+\] (certificate verify failed).*", r"\1", message)
    return re.sub(r"(['\"])/?.*?\1|file://\S+", "…", message) or "no reason given"
