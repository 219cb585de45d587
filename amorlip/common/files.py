"""Writing files whole or not at all, their digests, and the lock that keeps a second process out of a folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError

DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and deleted when it does not.

    A full or broken disk is an OSError that names `path`, whatever the library in the block makes of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        if number := _disk_trouble(error):
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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AmorlipError(
                f"{folder}: another process is writing to this folder; wait for it or stop it"
            ) from error
        yield


def overlap(one: Path, other: Path) -> bool:
    """Whether two paths are the same folder or file, or one contains the other, also through links and in other cases.

    By device and inode, so that the spelling of a path does not matter. Paths that do not exist yet may be given.
    """
    return _contains(one, other) or _contains(other, one)


def _contains(outer: Path, inner: Path) -> bool:
    target, place = inner.resolve(), inner.parent.resolve()  # where a link leads, and where it is itself
    paths = {target, *target.parents, place, *place.parents}
    return outer.exists() and any(path.exists() and path.samefile(outer) for path in paths)


def tidy(folder: Path, *names: str) -> None:
    """Delete what killed processes left of files whose names begin so. Only where no other process writes them."""
    for name in names:
        for path in folder.glob(f".{name}*"):
            path.unlink()


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


def sha256(path: Path | str) -> str:
    """Hexadecimal digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _disk_trouble(error: BaseException | None) -> int | None:
    """The error number of a disk's trouble behind `error`."""
    while error is not None:
        number = getattr(error, "errno", None)
        if number in DISK_TROUBLE:
            return number
        error = error.__cause__ or error.__context__
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
