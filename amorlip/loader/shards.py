"""The open shards of a split, read by several threads at once."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.corpus.records import ShardEntry

MOST_OPEN = 1 << 14
"""Shards that a process keeps open, if the system lets it."""
SPARE = 512
"""Files that the process may open besides."""
TRIES, WAIT_S = 500, 0.01
"""To open a file where too many are open."""


class Shards:
    """Reads bytes of shards, which stay open: on a network's file system, opening takes as long as reading.

    Args:
        folder: holds the shards.
        entries: of the manifest.
        local: a folder that another process or thread copies shards to. One that is there is read from there.
    """

    def __init__(self, folder: Path, entries: Sequence[ShardEntry], local: Path | None = None) -> None:
        self.folder, self.entries, self.local = folder, entries, local
        self.most_open = may_open(len(entries))
        self.files: OrderedDict[int, _Opened] = OrderedDict()
        self.lock = threading.Lock()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes of the shard with this number. Raises AmorlipError if it cannot be read."""
        try:
            return os.pread(self._opened(shard).number, size, offset)
        except OSError as error:
            raise self._unreadable(shard, error) from error

    def read_cached(self, shard: int, offset: int, size: int) -> bytes | None:
        """The same if it is in memory already, or else None, at once: it needs no other thread then.

        Raises AmorlipError if the shard cannot be opened.
        """
        data = bytearray(size)
        try:
            found = os.preadv(self._opened(shard).number, [data], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):  # most network file systems
                return None
            raise self._unreadable(shard, error) from error
        return bytes(data) if found == size else None

    def path(self, shard: int) -> Path:
        """Where the original is."""
        return self.folder / self.entries[shard].name

    def _unreadable(self, shard: int, error: OSError) -> AmorlipError:
        return AmorlipError(f"shard {self.path(shard)} cannot be read ({error.strerror}); start again")

    def _opened(self, shard: int) -> _Opened:
        with self.lock:
            found = self.files.get(shard)
            if found is None or not found.is_local:
                found = self._local(shard) or found or self._open(self.path(shard), is_local=False)
                self.files[shard] = found
            self.files.move_to_end(shard)
            while len(self.files) > self.most_open:
                self.files.popitem(last=False)
            return found

    def _local(self, shard: int) -> _Opened | None:
        """The copy, if it is there."""
        if self.local is None:
            return None
        try:
            copy = self._open(self.local / self.entries[shard].name, is_local=True)
        except FileNotFoundError:
            return None
        return copy if os.fstat(copy.number).st_size == self.entries[shard].bytes else None

    def _open(self, path: Path, *, is_local: bool) -> _Opened:
        """Where the system lets no more files be opened, the others are closed, as soon as no thread reads them."""
        for _ in range(TRIES):
            try:
                return _Opened(path, is_local=is_local)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                self.files.clear()
                time.sleep(WAIT_S)
        return _Opened(path, is_local=is_local)


class _Opened:
    """A file that is closed with the last reference to it: another thread may still read it."""

    def __init__(self, path: Path, *, is_local: bool) -> None:
        self.is_local = is_local
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):  # it could not be opened
            os.close(self.number)


def may_open(files: int) -> int:
    """How many of `files` this process may keep open; its limit is raised for them, and for that of its children."""
    wanted = min(files, MOST_OPEN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + SPARE:
        soft = wanted + SPARE if hard == resource.RLIM_INFINITY else min(wanted + SPARE, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - SPARE))
