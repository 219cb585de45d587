"""Files that users give by path. They are inputs: when one changes, the stages that depend on it run again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from amorlip.common.files import walk
from amorlip.config.benchmark import TaskSource
from amorlip.config.corpus import Corpus
from amorlip.config.selection import ExternalModel


def lists(corpus: Corpus) -> list[Path]:
    """The lists of addresses of a corpus that are on this machine."""
    if corpus.source != "urls" or corpus.urls is None:
        return []
    addresses = [urlsplit(given.url.strip()) for given in (corpus.urls.train, corpus.urls.validation) if given]
    return [Path(unquote(address.path)) for address in addresses if address.scheme.lower() in ("", "file")]


def weights(model: ExternalModel) -> list[Path]:
    """The file of weights that were not trained here, if they are given as a file."""
    path = Path(model.pretrained)
    return [path] if path.is_file() else []


def stamp(source: TaskSource) -> str | None:
    """What identifies the state of a task's folder: changes with any file's name, size or time. None: not a folder.

    The contents are not read, since a set can hold terabytes. Hidden files are not part of a set.
    """
    if source.kind != "folder" or source.path is None:
        return None
    digest = hashlib.sha256()
    for path in walk(Path(source.path)):
        if path.is_file():
            state = path.stat()
            # fsencode: a name on a disk need not be UTF-8
            digest.update(os.fsencode(f"{path.relative_to(source.path)}\0{state.st_size}\0{state.st_mtime_ns}\0"))
    return digest.hexdigest()[:16]
