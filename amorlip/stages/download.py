"""The stage `download`: the pairs of one split as WebDataset shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import Corpus
from amorlip.config.load import merge, validate
from amorlip.corpus import download


def run(
    settings: Mapping[str, Any],
    split: str,
    urls: Path,
    output: Path,
    part: int | None = None,
    parts: int | None = None,
    **speed: int | None,
) -> None:
    """Download the pairs of one split into shards: all of them, or part `part` of `parts`.

    With `parts` alone, the parts were downloaded before. `speed` holds keys of `download`, which change no result; one
    that is None is the configuration's.
    """
    given = {key: value for key, value in speed.items() if value is not None}
    corpus = validate(Corpus, merge({"title": "", **settings}, {"download": given}), "settings")
    if part is None:
        download.download(corpus, split, urls, output, parts=parts or 1)
    else:
        download.download_part(corpus, split, urls, output, part, parts or 1)
