"""What the stage `artwork` writes about the emoji packages: packages.json."""

from __future__ import annotations

from pydantic import RootModel

from amorlip.common.records import JsonFile, JsonRecord

PACKAGES = "packages.json"


class PackageEntry(JsonRecord):
    """One package: its pin, and what became of its drawings."""

    package: str
    version: str
    integrity: str
    license: str
    role: str
    style: str | None = None
    pictures: int | None = None
    """Drawings that were rendered; only for packages of a style."""
    skipped: dict[str, int] | None = None
    """Reason → drawings that were not."""


class PackagesRecord(JsonFile, RootModel[list[PackageEntry]]):
    """packages.json: the packages in the order of the configuration."""
