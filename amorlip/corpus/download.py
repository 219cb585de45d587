"""The stage `download`: the pairs of one split as WebDataset shards, from addresses or from ready-made shards.

img2dataset writes into a staging folder, from which finished shards are moved into place: a run that was killed leaves
no half shard, and what it had finished is kept. Each later pass requests only the addresses still missing.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from amorlip.common import hub
from amorlip.common.errors import AmorlipError
from amorlip.common.files import locked, sha256
from amorlip.config.corpus import Corpus, MirrorSource
from amorlip.corpus import img2dataset_call, leftovers, outcomes
from amorlip.corpus.records import DOWNLOAD, DownloadRecord


def download(corpus: Corpus, split: str, urls: Path | None, folder: Path) -> None:
    """Download the pairs of `split` (`train`|`validation`) into `folder`/NNNNN.tar, then write download.json.

    What an earlier call downloaded is kept; only what is missing is requested again. Shards in `folder` that were made
    from another source, list or image size, or that a mirror's revision does not have, are set aside.

    Raises:
        AmorlipError: if the mirror cannot be read, a shard cannot be written, or another process downloads into
            `folder`.
    """
    with locked(folder):
        (folder / DOWNLOAD).unlink(missing_ok=True)
        if corpus.source == "mirror" and corpus.mirror is not None:
            record = _mirror(corpus.mirror, split, folder)
        elif urls is not None:
            record = _addresses(corpus, split, urls, folder)
        else:
            raise AmorlipError(f"the stage `download` needs --urls for a corpus with source '{corpus.source}'")
        DownloadRecord(source=corpus.source, split=split, **record).write(folder / DOWNLOAD)


def _mirror(source: MirrorSource, split: str, folder: Path) -> dict[str, Any]:
    pattern = getattr(source, split)
    # In a repository without validation shards, some of its training shards are used.
    others = [source.validation] if split == "train" else []
    made_from = f"mirror {source.repository} {source.revision} {pattern} {others}"
    leftovers.claim(folder, made_from, keep_unmarked=True)
    resumed = bool(leftovers.shards_and_outcomes(folder))
    commit = hub.download(source.repository, source.revision, folder, [pattern], others)
    if resumed:  # a branch such as main may have moved since
        leftovers.keep_only(folder, hub.file_names(source.repository, commit, [pattern], others))
    names = [path.relative_to(folder).as_posix() for path in leftovers.shards_and_outcomes(folder)]
    shards = [name for name in names if fnmatch(name, pattern) and not any(fnmatch(name, other) for other in others)]
    return {"revision": commit, "requested": None, "downloaded": None, "failed": {}, "shards": shards}


def _addresses(corpus: Corpus, split: str, urls: Path, folder: Path) -> dict[str, Any]:
    image = corpus.image.model_dump_json()
    leftovers.claim(folder, f"{split} {sha256(urls)} {corpus.samples_per_shard} {image}")
    wanted = pq.read_table(urls, filters=[("split", "=", split)], columns=["sample_id", "url", "caption"])
    for number in range(1 + corpus.download.retries):
        outcomes.collect(folder)
        missing = outcomes.without(wanted, outcomes.settled(outcomes.read(folder)))
        if not len(missing):
            break
        print(f"{split}: pass {number + 1}, {len(missing)} of {len(wanted)} addresses", flush=True)
        _pass(corpus, missing, folder)
    outcomes.collect(folder)
    record = outcomes.account(wanted, outcomes.read(folder), folder)
    for reason, example in record["examples"].items():
        print(f"{record['failed'][reason]} failed: {reason}; for example {example}", flush=True)
    return record


def _pass(corpus: Corpus, rows: pa.Table, folder: Path) -> None:
    """Try each address in `rows` once; the results are in a staging folder."""
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=leftovers.STAGING))
    listed = staging / "list.parquet"
    pq.write_table(rows, listed)
    img2dataset_call.run(listed, staging / "shards", corpus.image, corpus.download, corpus.samples_per_shard)
    # img2dataset prints the error of a shard that it could not write, and continues as if nothing had happened.
    begun, finished = math.ceil(len(rows) / corpus.samples_per_shard), len([*staging.glob("shards/*_stats.json")])
    if finished < begun:
        free = shutil.disk_usage(folder).free / 2**20
        raise AmorlipError(
            f"{begun - finished} of {begun} shards could not be written to {folder} ({free:.0f} MiB free; the reason is"
            " in the log above); fix that and run again; finished shards are kept"
        )
