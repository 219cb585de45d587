"""The stage `download`: the pairs of one split as WebDataset shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import Corpus
from amorlip.config.load import merge, validate
from amorlip.corpus import download


def run(settings: Mapping[str, Any], split: str, urls: Path, output: Path, **speed: int | None) -> None:
    """Download the pairs of one split into shards.

    `speed` holds keys of `download`, which change no result; one that is None is the configuration's.
    """
    given = {key: value for key, value in speed.items() if value is not None}
    corpus = validate(Corpus, merge({"title": "", **settings}, {"download": given}), "settings")
    download.download(corpus, split, urls, output)
