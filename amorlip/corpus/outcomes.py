"""img2dataset's shards and its tables of outcomes: collecting and counting them, and which addresses to retry."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from amorlip.common.parquet import damaged
from amorlip.common.printable import printable
from amorlip.corpus.addresses import Addresses
from amorlip.corpus.division import EVERY_SHARD, file_number, shard_of
from amorlip.corpus.leftovers import shards_in_staging, staging_folders
from amorlip.corpus.reasons import FINAL, NO_ANSWER, plain_reason

pc: Any = pyarrow.compute  # it makes its functions when it is imported, where a type checker does not see them
NOT_TRIED, DOWNLOADED = -2, -1
MOST_MESSAGE = 300
"""Characters of a message that are kept."""


def collect(folder: Path, own: range = EVERY_SHARD) -> None:
    """Move the finished shards of staging folders into `folder`, and delete the rest; only of the shards `own`.

    A shard and its table of outcomes belong together. Where one of the two was deleted, or a killed process did not
    move it, the other is deleted too, so that its addresses are downloaded again.
    """
    _drop_incomplete(folder, own)
    for staging in staging_folders(folder):
        for stats in sorted(staging.glob("shards/*_stats.json")):
            tar = stats.with_name(stats.name.replace("_stats.json", ".tar"))
            # The table of outcomes is moved last: without it the shard does not count, and its number is used again.
            if tar.is_file() and shard_of(int(tar.stem)) in own and not (folder / tar.name).exists():
                tar.replace(folder / tar.name)
                tar.with_suffix(".parquet").replace(folder / f"{tar.stem}.parquet")
        # One that another division of the download left holds shards of other jobs too.
        begun = shards_in_staging(staging)
        if own.start <= begun.start and begun.stop <= own.stop:
            shutil.rmtree(staging)


def _drop_incomplete(folder: Path, own: range) -> None:
    for table in folder.glob("[0-9]*.parquet"):
        if shard_of(int(table.stem)) in own and not table.with_suffix(".tar").is_file():
            print(f"{table.with_suffix('.tar')} is missing; its pairs are downloaded again", flush=True)
            table.unlink()
    for tar in folder.glob("[0-9]*.tar"):
        if shard_of(int(tar.stem)) in own and not tar.with_suffix(".parquet").is_file():
            tar.unlink()


def numbers(folder: Path) -> list[int]:
    """The numbers of the shards that were collected, in order."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.parquet"))


class Outcomes:
    """What became of each address, of several attempts the last one's: four bytes each, and each message once."""

    def __init__(self, listed: Addresses, folder: Path, own: range) -> None:
        self.codes = np.full(int(listed.ids.max(initial=-1)) + 1, NOT_TRIED, np.int32)
        """For each sample_id: the number of its message, NOT_TRIED or DOWNLOADED."""
        self.messages: dict[str, int] = {}
        self.listed, self.folder, self.own = listed, folder, own
        self.read: set[int] = set()

    def update(self) -> None:
        """Read the tables of its own shards that were not read before: other jobs may delete theirs."""
        for number in numbers(self.folder):
            if number not in self.read and shard_of(number) in self.own:
                self._add(self.folder / f"{number:05d}.parquet")
                self.read.add(number)

    def attempts(self) -> Counter[int]:
        """Shard of the list → how often it was tried."""
        return Counter(map(shard_of, self.read))

    def free_number(self, shard: int) -> int:
        """The number under which a further attempt at a shard of the list is stored."""
        return next(number for attempt in itertools.count() if (number := file_number(shard, attempt)) not in self.read)

    def missing(self) -> np.ndarray:
        """For each address of the list: whether it is to be tried, since it was not yet, or may work later."""
        # NOT_TRIED and DOWNLOADED are negative, so they count from the end.
        settled = np.array([*(plain_reason(message) in FINAL for message in self.messages), False, True])
        return ~settled[self.codes[self.listed.ids]]

    def account(self) -> dict[str, Any]:
        """What download.json says about a list: counts over its addresses."""
        codes, first = np.unique(self.codes[self.listed.ids], return_index=True)
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.messages))
        reasons: Counter[str] = Counter()
        examples: dict[str, tuple[int, str]] = {}
        place = dict(zip(codes.tolist(), first.tolist(), strict=True))
        for message, code in self.messages.items():
            if counts[code]:
                reason = plain_reason(message)
                reasons[reason] += int(counts[code])
                examples[reason] = min(examples.get(reason, (place[code], message)), (place[code], message))
        if lost := int((self.codes[self.listed.ids] == NOT_TRIED).sum()):
            reasons[NO_ANSWER] = lost
        return {
            "requested": len(self.listed.ids),
            "downloaded": int((self.codes == DOWNLOADED).sum()),
            "failed": dict(reasons.most_common()),
            "examples": self._examples(dict(sorted(examples.items(), key=lambda item: item[1]))),
            "shards": [f"{number:05d}.tar" for number in numbers(self.folder)],
        }

    def _examples(self, places: dict[str, tuple[int, str]]) -> dict[str, str]:
        """Reason → address and message of the first row of the list with it."""
        ids = {reason: int(self.listed.ids[place]) for reason, (place, _) in places.items()}
        urls = self.listed.urls_of([*ids.values()])
        return {
            reason: printable(f"{urls[ids[reason]]}: {message or 'no reason given'}")
            for reason, (_, message) in places.items()
        }

    def _add(self, path: Path) -> None:
        advice = "delete it and the tar file of this name, and run again"
        with damaged(path, advice):
            rows = pq.read_table(path, columns=["sample_id", "status", "error_message"])
            ids = rows["sample_id"].to_numpy()
            if len(ids) and not 0 <= ids.min() <= ids.max() < len(self.codes):
                raise ValueError("it has a sample_id that is not in the list")
        failed = pc.fill_null(pc.not_equal(rows["status"], "success"), True)
        # Each message is kept once, and a server may invent one of 64 KiB for each address.
        said = pc.utf8_slice_codeunits(pc.fill_null(rows["error_message"], ""), 0, MOST_MESSAGE)
        messages = pc.if_else(failed, said, pa.scalar(None, pa.string()))
        encoded = messages.combine_chunks().dictionary_encode()
        known = [self.messages.setdefault(message, len(self.messages)) for message in encoded.dictionary.to_pylist()]
        # A null, which is a success, has no place in the dictionary.
        places = pc.fill_null(encoded.indices, len(known)).to_numpy(zero_copy_only=False)
        codes = np.array([*known, DOWNLOADED], np.int32)[places]
        open_ = self.codes[ids] != DOWNLOADED
        self.codes[ids[open_]] = codes[open_]
