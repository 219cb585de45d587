"""The stage `urls`: the list of addresses and captions of a corpus, whatever its source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import Corpus
from amorlip.config.load import validate
from amorlip.corpus import urls
from amorlip.emoji import artwork as emoji


def run(settings: Mapping[str, Any], artwork: Path | None, output: Path) -> None:
    """Write the list of addresses and captions of a corpus."""
    corpus = validate(Corpus, {"title": "", **settings}, "settings")
    if corpus.source == "emoji":
        emoji.write_urls(artwork, output)
    else:
        urls.write_urls(corpus.urls, output)
