"""What the stages `download` and `shards` write about a split: download.json and manifest.json."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from amorlip.common.records import JsonRecord
from amorlip.common.transparency import Transparency

DOWNLOAD = "download.json"
MANIFEST = "manifest.json"
LISTS = "lists.json"
CHECKED = "checked.json"


class DownloadRecord(JsonRecord):
    """download.json: which shards there are and what became of the addresses."""

    source: Literal["emoji", "icons", "urls", "mirror"]
    split: str
    revision: str | None = None
    """A mirror's commit."""
    requested: int | None
    """Addresses in the list; null for a mirror, whose shards are all there is."""
    downloaded: int | None
    failed: dict[str, int]
    """Reason → addresses."""
    examples: dict[str, str] = {}
    """Reason → one of its addresses, with the error message."""
    shards: list[str]
    """Paths below the folder."""
    parts: int = 1
    """Jobs that divided the download."""


class ListRecord(JsonRecord):
    """A list of addresses that was read."""

    url: str
    sha256: str


class ListsRecord(JsonRecord):
    """lists.json, next to urls.parquet: the lists that it was made from."""

    lists: dict[Literal["train", "validation"], ListRecord]


class ShardEntry(JsonRecord):
    """One shard of a manifest."""

    name: str
    """Path below the folder."""
    samples: int
    """Usable pairs."""
    bytes: int
    sha256: str


class Checked(JsonRecord):
    """checked.json: the shards as they were when their checksums were last compared. A copy may have it, too."""

    digest: str
    """The manifest's."""
    shards: dict[str, tuple[int, int]]
    """Path below the folder → size [bytes] and modification time [ns]."""


class Manifest(JsonRecord):
    """manifest.json: the usable pairs of a split, the shards that hold them, and what was lost."""

    corpus: str
    split: str
    requested: int
    downloaded: int
    """Pairs in the shards, usable or not."""
    failed: dict[str, int]
    """Reason → addresses that could not be downloaded."""
    usable_fraction: float = Field(alias="yield")
    """Usable pairs / requested ones."""
    samples: int
    """Usable pairs."""
    refused: dict[str, int]
    """Reason → pairs of the shards that cannot be used."""
    max_sample_id: int
    """-1 if there are no pairs."""
    transparency: Transparency = "drop"
    """How the loader shows transparent pixels."""
    digest: str
    """sha256 of the shards' checksums and the ids of the usable pairs."""
    index_sha256: str | None = None
    """Checksum of index.parquet; None: made by a version that did not note it."""
    shards: list[ShardEntry]

    def content_sha256(self) -> str:
        """Checksum of all shards, whatever pairs of them are usable."""
        return hashlib.sha256("".join(f"{shard.name} {shard.sha256}\n" for shard in self.shards).encode()).hexdigest()

    def lost(self) -> str:
        """The pairs that cannot be used, by reason, for messages."""
        reasons = [*self.failed.items(), *self.refused.items()]
        return ", ".join(f"{reason}: {n}" for reason, n in reasons) or "none was refused"
