"""How a split's list is divided: into shards of equal length, and their download into parts, one for each job.

Shard N of the list is stored as shard N, however many jobs download it. What a further attempt finds of its failed
addresses is stored as shard N + FURTHER, then N + 2 · FURTHER, and so on.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from amorlip.common.limits import read_json
from amorlip.common.records import JsonRecord
from amorlip.corpus.records import DOWNLOAD

FURTHER = 10**6
"""Distance between the numbers of a shard's attempts: the most shards that a list may have."""
EVERY_SHARD = range(FURTHER)
PARTS = "parts"


class PartRecord(JsonRecord):
    """parts/K-of-N.json: one part of a split was downloaded."""

    part: int
    """1 to `parts`."""
    parts: int
    shards: int
    """Shards of the list in this part."""

    @property
    def name(self) -> str:
        """Path below the split's folder."""
        return f"{PARTS}/{self.part}-of-{self.parts}.json"


def shards_of(part: int, parts: int, shards: int) -> range:
    """The shards that part `part` (1 to `parts`) of a list of `shards` shards downloads."""
    return range(shards * (part - 1) // parts, shards * part // parts)


def file_number(shard: int, attempt: int) -> int:
    """Under which number the attempt (0, 1, …) at a shard of the list is stored."""
    return shard + attempt * FURTHER


def shard_of(number: int) -> int:
    """The shard of the list that was stored under this number."""
    return number % FURTHER


def parts_in(folder: Path, jobs: int) -> int:
    """In how many parts the split in `folder` is, or will be, downloaded: `jobs`, if it was not begun.

    A change of the key `jobs` must not make a finished split be downloaded again, and Snakemake would do that for a
    rule with other inputs than it had.
    """
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return int(read_json(folder / DOWNLOAD).get("parts", 1))
    begun = sorted((folder / PARTS).glob("*-of-*.json"))
    return int(begun[0].stem.rpartition("-")[2]) if begun else jobs
