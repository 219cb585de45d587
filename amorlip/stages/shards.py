"""The stage `shards`: check every pair of one split, and write its manifest and index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import Corpus as CorpusSettings
from amorlip.config.load import validate
from amorlip.corpus import manifest


def run(settings: Mapping[str, Any], corpus: str, split: str, folder: Path) -> None:
    """Check every pair of one split and write its manifest and index."""
    manifest.build_manifest(corpus, validate(CorpusSettings, {"title": "", **settings}, "settings"), split, folder)
