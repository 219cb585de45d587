"""The stage `urls`: the list of addresses and captions of a corpus."""

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
from amorlip.icons import artwork as icons


def run(settings: Mapping[str, Any], artwork: Path | None, output: Path) -> None:
    """Write the list of addresses and captions of a corpus.

    Raises:
        AmorlipError: if the settings are wrong, the corpus has no list, or its list cannot be read.
    """
    corpus = validate(Corpus, {"title": "", **settings}, "settings")
    for split in (corpus.urls.train, corpus.urls.validation) if corpus.urls else ():
        _refuse_to_overwrite(split, output)
    if corpus.is_rendered:
        if artwork is None:
            raise AmorlipError("--artwork is missing: the folder of the rendered pictures")
        (icons if corpus.source == "icons" else emoji).write_urls(artwork, output)
    elif corpus.source == "urls" and corpus.urls is not None:
        urls.write_urls(corpus.urls, output)
    else:
        raise AmorlipError(f"a corpus of source '{corpus.source}' has no list of addresses")


def _refuse_to_overwrite(given: UrlList | None, output: Path) -> None:
    """Raise AmorlipError if the output is a list of the user's, also through a link."""
    if given is not None and urlsplit(given.url).scheme.lower() in ("", "file"):
        path = Path(unquote(urlsplit(given.url).path))
        if path.exists() and output.exists() and path.samefile(output):
            raise AmorlipError(f"{output} would be overwritten, but it is the list {given.url}; choose another output")
