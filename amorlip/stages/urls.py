"""The stage `urls`: the list of addresses and captions of a corpus, whatever its source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from amorlip.common.errors import AmorlipError
from amorlip.config.corpus import Corpus, UrlList
from amorlip.config.load import validate
from amorlip.corpus import urls
from amorlip.emoji import artwork as emoji


def run(settings: Mapping[str, Any], artwork: Path | None, output: Path) -> None:
    """Write the list of addresses and captions of a corpus."""
    corpus = validate(Corpus, {"title": "", **settings}, "settings")
    for split in (corpus.urls.train, corpus.urls.validation) if corpus.urls else ():
        _refuse_to_overwrite(split, output)
    if corpus.source == "emoji":
        emoji.write_urls(artwork, output)
    else:
        urls.write_urls(corpus.urls, output)


def _refuse_to_overwrite(given: UrlList | None, output: Path) -> None:
    """Raise AmorlipError if the output is a list of the user's, also through a link."""
    if given is not None and urlsplit(given.url).scheme.lower() in ("", "file"):
        path = Path(unquote(urlsplit(given.url).path))
        if path.exists() and output.exists() and path.samefile(output):
            raise AmorlipError(f"{output} would be overwritten, but it is the list {given.url}; choose another output")
