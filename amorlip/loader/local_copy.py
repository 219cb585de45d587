"""Copying a split's shards to a disk of this machine in the background, while training reads what is there."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
from pathlib import Path

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line
from amorlip.corpus.manifest import read_manifest
from amorlip.corpus.records import Manifest, ShardEntry

logger = logging.getLogger(__name__)

BLOCK = 1 << 22
"""Bytes."""
LETTERS = 16
"""Of a corpus' digest, for the name of its folder."""
RESERVE = 1 << 30
"""Bytes of the disk that are left free."""
WAIT_S = 10.0
"""Between two looks at what another process copies."""


def folder(given: str | None) -> Path | None:
    """The folder of `loader.local`, in which variables of the environment are replaced by their values.

    Raises AmorlipError if one is not set.
    """
    if given is None:
        return None
    if "$" in (path := os.path.expandvars(given)):
        raise AmorlipError(f"loader.local: {given}: a variable is not set in this process's environment")
    return Path(path).expanduser()


def place(local: Path | None, manifest: Manifest) -> Path | None:
    """Where the copies of this corpus are: another corpus, or another state of it, has another folder."""
    return None if local is None else local / manifest.digest[:LETTERS]


def start(source: Path, local: Path) -> threading.Thread:
    """Begin to copy the shards in `source` to `local`. One process of a machine does it for all.

    If another run copies them already, it waits, and copies what is still missing. A problem with the disk ends the
    copying with a warning, and the other shards are read from `source`. It ends with this process at the latest.
    """
    manifest = read_manifest(source, compare=False)
    target = local / manifest.digest[:LETTERS]
    thread = threading.Thread(target=_copy_all, args=(source, manifest, target), daemon=True, name="local copy")
    thread.start()
    return thread


def _copy_all(source: Path, manifest: Manifest, target: Path) -> None:
    told = False
    try:
        while missing := [entry for entry in manifest.shards if not _is_there(target, entry)]:
            try:
                with files.locked(target):
                    files.delete_unfinished(target, *(entry.name for entry in missing if "/" not in entry.name))
                    _copy(source, missing, target)
            except AmorlipError as error:  # another run does
                if not told:
                    logger.info("shards are not copied to %s yet: %s", target, one_line(error))
                told = True
                time.sleep(WAIT_S)
        logger.info("all %d shards of %s are in %s", len(manifest.shards), source, target)
    except OSError as error:
        there = sum(_is_there(target, entry) for entry in manifest.shards)
        logger.warning(
            "%s: no more shards are copied (%s); the %d of %d that are there are read from there",
            target, one_line(error), there, len(manifest.shards),
        )  # fmt: skip


def _is_there(target: Path, entry: ShardEntry) -> bool:
    path = target / entry.name
    return path.is_file() and path.stat().st_size == entry.bytes


def _copy(source: Path, entries: list[ShardEntry], target: Path) -> None:
    for entry in entries:
        if shutil.disk_usage(target).free < entry.bytes + RESERVE:
            raise OSError("the disk is nearly full")
        with files.atomic_path(target / entry.name) as temporary:
            digest = hashlib.sha256()
            with (source / entry.name).open("rb") as original, temporary.open("wb") as copy:
                while data := original.read(BLOCK):
                    digest.update(data)
                    copy.write(data)
            if digest.hexdigest() != entry.sha256:
                raise OSError(f"{source / entry.name} does not match its checksum in the manifest")
