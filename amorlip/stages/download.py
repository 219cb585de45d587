"""The stage `download`: the pairs of one split as WebDataset shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import Corpus
from amorlip.config.load import validate
from amorlip.corpus import download


def run(settings: Mapping[str, Any], split: str, urls: Path, output: Path, **speed: int) -> None:
    """Download the pairs of one split into shards."""
    corpus = validate(Corpus, {"title": "", **settings, "download": speed}, "settings")
    download.download(corpus, split, urls, output)
