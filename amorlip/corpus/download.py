"""The stage `download`: the pairs of one split as WebDataset shards, from addresses or from ready-made shards.

img2dataset writes into a staging folder, from which finished shards are moved into place: a run that was killed leaves
no half shard, and what it had finished is kept. Each later pass requests only the addresses still missing. Several
jobs may each download a part; which shard an address belongs to does not depend on how many they are.
"""

from __future__ import annotations

import itertools
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from amorlip.common import hub
from amorlip.common.errors import AmorlipError
from amorlip.common.files import locked, locked_part, sha256
from amorlip.config.corpus import Corpus, MirrorSource
from amorlip.corpus import img2dataset_call, leftovers, outcomes
from amorlip.corpus.addresses import Addresses
from amorlip.corpus.division import EVERY_SHARD, PartRecord, shards_of
from amorlip.corpus.outcomes import Outcomes
from amorlip.corpus.records import DOWNLOAD, DownloadRecord


def download(corpus: Corpus, split: str, urls: Path | None, folder: Path, *, parts: int = 1) -> None:
    """Download the pairs of `split` (`train`|`validation`) into `folder`/NNNNN.tar, then write download.json.

    What an earlier call downloaded is kept; only what is missing is requested again. Shards in `folder` that were made
    from another source, list or image size, or that a mirror's revision does not have, are set aside. With more than
    one of `parts`, `download_part` was called for each before, and made the further passes over its failed addresses.

    Raises:
        AmorlipError: if the mirror cannot be read, a shard cannot be written, another process downloads into
            `folder`, or it has files that no download wrote.
    """
    with locked(folder):
        leftovers.require_ours(folder)
        (folder / DOWNLOAD).unlink(missing_ok=True)
        if corpus.source == "mirror" and corpus.mirror is not None:
            record = _mirror(corpus.mirror, split, folder)
        else:
            record = _addresses(corpus, split, _given(corpus, urls), folder, parts)
        DownloadRecord(source=corpus.source, split=split, parts=parts, **record).write(folder / DOWNLOAD)


def download_part(corpus: Corpus, split: str, urls: Path | None, folder: Path, part: int, parts: int) -> None:
    """Download the shards of part `part` (1 to `parts`) of a split's list, and write `folder`/parts/K-of-N.json.

    Other processes may download other parts at the same time. Raises AmorlipError like `download`.
    """
    if not 1 <= part <= parts:
        raise AmorlipError(f"part {part} of {parts}: the number of a part is 1 to {parts}")
    listed = Addresses(_given(corpus, urls), split, corpus.samples_per_shard)
    shards = shards_of(part, parts, listed.shards)
    made_from = _made_from(corpus, split, listed)

    def prepare() -> None:
        leftovers.require_ours(folder)
        leftovers.claim(folder, made_from)

    with locked_part(
        folder,
        shards,
        prepared=lambda: leftovers.is_claimed(folder, made_from),
        prepare=prepare,
    ):
        (folder / DOWNLOAD).unlink(missing_ok=True)
        _passes(corpus, listed, folder, shards)
        record = PartRecord(part=part, parts=parts, shards=len(shards))
        record.write(folder / record.name)


def _given(corpus: Corpus, urls: Path | None) -> Path:
    if urls is None:
        raise AmorlipError(f"the stage `download` needs --urls for a corpus with source '{corpus.source}'")
    return urls


def _mirror(source: MirrorSource, split: str, folder: Path) -> dict[str, Any]:
    pattern = getattr(source, split)
    # In a repository without validation shards, some of its training shards are used.
    others = [source.validation] if split == "train" else []
    made_from = f"mirror {source.repository} {source.revision} {pattern} {others}"
    leftovers.claim(folder, made_from, keep_unmarked=True)
    resumed = bool(leftovers.shards_and_outcomes(folder))
    commit = hub.download(source.repository, source.commit or source.revision, folder, [pattern], others)
    if resumed:  # a branch such as main may have moved since
        leftovers.keep_only(folder, hub.file_names(source.repository, commit, [pattern], others))
    names = [path.relative_to(folder).as_posix() for path in leftovers.shards_and_outcomes(folder)]
    shards = [name for name in names if fnmatch(name, pattern) and not any(fnmatch(name, other) for other in others)]
    return {"revision": commit, "requested": None, "downloaded": None, "failed": {}, "shards": shards}


def _made_from(corpus: Corpus, split: str, listed: Addresses) -> str:
    # Without the default, so that the shards of all corpora from before this key keep their mark.
    transparency = "" if corpus.transparency == "white" else f" {corpus.transparency}"
    return f"{split} {sha256(listed.urls)} {corpus.samples_per_shard} {corpus.image.model_dump_json()}{transparency}"


def _addresses(corpus: Corpus, split: str, urls: Path, folder: Path, parts: int) -> dict[str, Any]:
    listed = Addresses(urls, split, corpus.samples_per_shard)
    leftovers.claim(folder, _made_from(corpus, split, listed))
    # After parts, this does nothing, unless a shard was deleted since.
    known = _passes(corpus, listed, folder, EVERY_SHARD, most_attempts=1 if parts > 1 else None)
    record = known.account()
    for reason, example in record["examples"].items():
        print(f"{record['failed'][reason]} failed: {reason}; for example {example}", flush=True)
    return record


def _passes(
    corpus: Corpus, listed: Addresses, folder: Path, shards: range, most_attempts: int | None = None
) -> Outcomes:
    """Try the missing addresses of these shards of the list in passes, each shard at most once in a pass.

    A shard is tried 1 + `retries` times. When all were, a later call tries each as often again: a call that continues
    a killed one does not repeat what that one did.
    """
    known = Outcomes(listed, folder, shards)
    for number in itertools.count(1):
        outcomes.collect(folder, shards)
        known.update()
        missing = known.missing()
        rows = {shard: n for shard, n in enumerate(listed.count(missing).tolist()) if n and shard in shards}
        tried = known.attempts()
        if most_attempts is None:
            round_length = 1 + corpus.download.retries
            most_attempts = (min((tried[shard] for shard in rows), default=0) // round_length + 1) * round_length
        due = {shard: known.free_number(shard) for shard in rows if tried[shard] < most_attempts}
        if not due:
            break
        asked = sum(rows[shard] for shard in due)
        print(f"{listed.split}: pass {number}, {asked} of {len(listed.ids)} addresses", flush=True)
        staging = leftovers.new_staging(folder, shards)
        listed.write_lists(due, missing, staging / "lists")
        _pass(corpus, listed.split, staging, len(due))
    return known


def _pass(corpus: Corpus, split: str, staging: Path, shards: int) -> None:
    """Try each address in the lists of a staging folder once; the results are there too."""
    img2dataset_call.run(staging / "lists", staging / "shards", corpus, split)
    # img2dataset prints the error of a shard that it could not write, and continues as if nothing had happened.
    if unwritten := shards - len([*staging.glob("shards/*_stats.json")]):
        free = shutil.disk_usage(staging).free / 2**20
        raise AmorlipError(
            f"{unwritten} of {shards} shards could not be written to {staging.parent} ({free:.0f} MiB free; the reason"
            " is in the log above); fix that and run again; finished shards are kept"
        )
