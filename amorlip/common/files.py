"""Writing files whole or not at all, their checksums, and the lock that keeps a second process out of a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from amorlip.common import slurm
from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_json

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
LOCK = ".lock"
"""Name of the file that `locked` locks; it stays empty."""
HOLDER = "holder.json"
"""Name of the file that says which process holds a folder, while it does."""
FLOCK = "hhqqi4x"
"""Linux's struct flock: type, whence, start, length, pid."""
SET_ASIDE = "set-aside-"
"""Beginning of the name of a folder with files that its parent folder should no longer hold."""

PREPARING = 2**40
PREPARATION_TIMEOUT_S = 60


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary file next to `path`, renamed to `path` if the block succeeds and deleted if it does not.

    Raises:
        OSError: naming `path`, if the disk is full or broken, also where a library raises an error of its own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)  # O_EXCL: a link that someone put there is not followed
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        if number := _disk_error(error):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`; raises AmorlipError if another process does.

    A POSIX record lock: it ends with its process, however that dies, and is not inherited by child processes, some of
    which outlive a killed parent by some seconds.
    """
    with _lock_file(folder) as file:
        _lock(file, folder)
        note = folder / HOLDER
        # for `holder`, which does without; a full disk is not this function's business
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
            with note.open("x", encoding="utf-8") as text:
                json.dump({"host": socket.gethostname(), "pid": os.getpid(), "job": slurm.job_id()}, text)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)


@contextmanager
def locked_part(folder: Path, part: range, prepared: Callable[[], bool], prepare: Callable[[], None]) -> Iterator[None]:
    """Hold a part of `folder`, a range of whole numbers below 2**40, while other processes hold other parts.

    Unless `prepared()`, `prepare()` is called first, while no other process holds any part. Raises AmorlipError if
    another process holds the folder or some of the part, or all of it may not be prepared.
    """
    with _lock_file(folder) as file:
        # A POSIX lock covers bytes, which need not exist: byte N stands for number N.
        _lock(file, folder, range(PREPARING, PREPARING + 1), wait_s=PREPARATION_TIMEOUT_S)
        if not prepared():
            _lock(file, folder, range(PREPARING))
            prepare()
            fcntl.lockf(file, fcntl.LOCK_UN, PREPARING)
        if part:
            _lock(file, folder, part)
        fcntl.lockf(file, fcntl.LOCK_UN, 1, PREPARING)
        yield


@contextmanager
def _lock_file(folder: Path) -> Iterator[IO[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    # Opened once: when a process closes a file, it loses all its locks on it.
    with open_to_append(folder / LOCK, "a") as file:
        yield file


def _lock(file: IO[str], folder: Path, part: range = range(0), wait_s: float = 0) -> None:
    """Lock the bytes `part` of an opened file; without a part, all that a file can have."""
    deadline = time.monotonic() + wait_s
    while not lock(file, part):
        if time.monotonic() >= deadline:
            raise AmorlipError(f"{folder}: another process is writing to this folder; wait for it or stop it")
        time.sleep(0.05)


def holder(folder: Path) -> dict[str, Any] | None:
    """The process that holds `folder`: its `host`, `pid` and Slurm `job`, as far as known; None if there is none.

    Not for a process that holds it itself: it would lose its lock.
    """
    if lock_owner(folder) is None:
        return None
    try:
        return dict(read_json(folder / HOLDER))
    except (OSError, ValueError, TypeError):  # it has the lock, but has not written yet
        return {}


def lock_owner(folder: Path) -> int | None:
    """The id of the process that holds `folder`; None if there is none, or if this is unknown.

    On a shared disk, the process may be of another machine.

    Not for a process that holds it itself: it would lose its lock.
    """
    try:
        with (folder / LOCK).open("rb") as file:
            # only asked, not tried: a process that wants the lock at this moment must not be refused
            found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return None
    kind, *_, process = struct.unpack(FLOCK, found)
    return None if kind == fcntl.F_UNLCK else process


def lock(file: IO[str], part: range = range(0)) -> bool:
    """Lock the bytes `part` of an open file, or all, until it is closed; False if another process holds some of them.

    Raises OSError if the file system has no locks.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, len(part), part.start)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # such as a network file system without locks
        raise OSError(error.errno, error.strerror, file.name) from error
    return True


def overlap(one: Path, other: Path) -> bool:
    """Whether two paths are the same folder or file, or one contains the other, also through links and despite case.

    By device and inode, so that the spelling of a path does not matter. Paths that do not exist yet may be given.
    """
    return _contains(one, other) or _contains(other, one)


def _contains(outer: Path, inner: Path) -> bool:
    target, place = inner.resolve(), inner.parent.resolve()  # where a link leads, and where it is itself
    paths = {target, *target.parents, place, *place.parents}
    return outer.exists() and any(path.exists() and path.samefile(outer) for path in paths)


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden, sorted within each folder; linked folders are read once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [
            name for name in sorted(folders) if name[0] != "." and os.path.realpath(f"{place}/{name}") not in seen
        ]
        yield from (Path(place) / name for name in sorted(names) if name[0] != ".")


def delete_unfinished(folder: Path, *names: str) -> None:
    """Delete the temporary files of killed processes for files whose names begin with one of `names`.

    Only where no other process writes such files.
    """
    for name in names:
        for path in folder.glob(f".{name}*"):
            path.unlink()


def set_aside(folder: Path, paths: Iterable[Path], why: str) -> None:
    """Move files in `folder` to a new subfolder `set-aside-N`, under the same relative paths, and print a line."""
    paths = sorted(paths)
    if not paths:
        return
    number = 1
    while (target := folder / f"{SET_ASIDE}{number}").exists():
        number += 1
    for path in paths:
        new = target / path.relative_to(folder)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)
    print(f"{folder}: {why}; {len(paths)} files moved to {target}, delete them if they are not needed", flush=True)


def open_to_append(path: Path, mode: Literal["a", "ab"]) -> IO[Any]:
    """Open a file whose name others can guess, as UTF-8 in mode `a`; it is made if it does not exist.

    Raises AmorlipError for anything that someone may have put there to have another file overwritten: a symbolic link,
    a hard link to a file with content, a pipe.
    """
    return open(path, mode, encoding=None if mode == "ab" else "utf-8", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    try:
        # Without O_NONBLOCK, opening a pipe waits until someone reads it.
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise AmorlipError(f"{path} is a link or not a regular file; delete it and run again") from error
        raise
    found = os.fstat(handle)
    # An empty file has nothing to lose; copies made with `cp -al` share the empty lock.
    if not stat.S_ISREG(found.st_mode) or (found.st_nlink > 1 and found.st_size):
        os.close(handle)
        raise AmorlipError(f"{path} is a link or not a regular file; delete it and run again")
    return handle


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` whole or not at all.

    For libraries that would write to a temporary file of their own, which a killed process leaves behind.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, lists of numbers on one line; NaN and infinities are refused (ValueError)."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    # A line break inside a JSON string is written as \n, so only brackets of the document itself are followed by one.
    write_text(path, re.sub(r"\[\n[^][{}\"]*\]", lambda numbers: _on_one_line(numbers[0]), text) + "\n")


def _on_one_line(numbers: str) -> str:
    return f"[{' '.join(numbers[1:-1].split())}]"


def path_to_publish(path: Path | str) -> str:
    """How a path is named in results that others may read: from the working directory, or, outside it, its last part.

    The folders above would tell a user's name and how a machine is organized.
    """
    absolute, here = Path(path).absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else absolute.name


def sha256(path: Path | str) -> str:
    """Hexadecimal checksum of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _disk_error(error: BaseException | None) -> int | None:
    """The number of the disk error among `error` and its causes."""
    while error is not None:
        number = getattr(error, "errno", None)
        if number in DISK_ERRORS:
            return number
        error = error.__cause__ or error.__context__
    return None
