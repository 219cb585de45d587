"""What the stage `artwork` writes about a package of icon sets: sets.json."""

from __future__ import annotations

from amorlip.common.records import JsonRecord

SETS = "sets.json"


class SetEntry(JsonRecord):
    """One set: whose it is, and what became of its drawings."""

    name: str
    title: str
    author: str
    license: str
    license_url: str
    heldout: bool
    pictures: dict[str, int]
    """Role → pictures."""
    skipped: dict[str, int]
    """Reason → drawings without one."""


class SetsRecord(JsonRecord):
    """sets.json: the package's pin, its sets, and the sets that were left out."""

    package: str
    version: str
    integrity: str
    sets: list[SetEntry]
    left_out: dict[str, str]
    """Set → why."""
