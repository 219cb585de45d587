"""How many training pairs a corpus has: counted where it was made, else what is known of it before."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from amorlip.common.limits import read_json
from amorlip.config.corpus import Corpus


class Known(NamedTuple):
    """A number of training pairs, and how far it can be trusted."""

    pairs: int
    counted: bool
    """True: counted by the stage `shards`; False: expected."""
    advice: str
    """What to do if the number is wrong."""


def known(name: str, corpus: Corpus, folder: Path) -> Known | None:
    """The training pairs of a corpus in `folder`/`name`; None if nothing is known yet.

    The first of: the manifest; the record of the download and a list on this machine, of which some pairs may turn out
    unusable; `published_pairs`.
    """
    split = folder / name / "train"
    for file, key in (("manifest.json", "samples"), ("download.json", "downloaded")):
        if (pairs := _number(split / file, key)) is not None:
            return Known(pairs, file == "manifest.json", f"or delete {split / file} if the corpus has changed")
    if corpus.source == "urls" and corpus.urls is not None:
        address = urlsplit(corpus.urls.train.url.strip())
        if address.scheme.lower() == "file":
            path = Path(unquote(address.path))
            return Known(_lines(path), False, f"or add lines to {path}")
    if not corpus.is_rendered and corpus.published_pairs is not None:
        return Known(corpus.published_pairs, False, f"or correct published_pairs of the corpus {name}, if it has more")
    return None


def _number(path: Path, key: str) -> int | None:
    try:
        value = read_json(path)[key]
    except (OSError, ValueError, TypeError, KeyError):
        return None  # not made yet, or damaged, which the stage that reads it reports
    return value if isinstance(value, int) else None


@cache
def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 22), b""))
