"""Files are written whole or not at all; the lock on a folder."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from amorlip.common import files
from amorlip.common.errors import AmorlipError
from tests.helpers.disks import disk, fill, make_read_only

HOLD = """
import os, sys, time
from pathlib import Path
from amorlip.common import files
with files.locked(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(30)
    print("held", flush=True)
    time.sleep(30)
"""


def test_lock_keeps_a_second_process_out_and_dies_with_its_holder(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(AmorlipError, match="another process is writing to this folder"),
            files.locked(tmp_path),
        ):
            pass
        # its child lives on, as the loader's processes do for some seconds
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        deadline = time.monotonic() + 5
        while True:
            try:
                with files.locked(tmp_path):
                    break
            except AmorlipError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()


# ---------------------------------------------------------------- atomic_path


class LibraryError(Exception):
    """What a library raises in place of the system's error."""


def only(folder, *names) -> bool:
    """Whether `folder` holds these files and no temporary one."""
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "file.json"
    with files.atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent and temporary.suffix == ".json" and temporary.name.startswith(".")
    assert path.read_text() == "whole" and only(path.parent, "file.json")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_block_that_fails_leaves_everything_as_it_was(tmp_path, error, before):
    path = tmp_path / "file.json"
    if before:
        path.write_text(before)
    with pytest.raises(error), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error("stop")
    assert only(tmp_path, *(["file.json"] if before else []))
    assert before is None or path.read_text() == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, mask):
    old = os.umask(mask)
    try:
        files.write_text(tmp_path / "atomic", "a")
        (tmp_path / "plain").write_text("a")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic", "plain")}
    assert modes == {0o666 & ~mask}


@pytest.mark.parametrize("name", ["file.tar", "a.b.c", ".hidden.json", "\u00e9 b.json"])
def test_the_temporary_file_has_the_ending_of_the_file(tmp_path, name):
    """Libraries choose the format by it."""
    with files.atomic_path(tmp_path / name) as temporary:
        assert temporary.suffix == (tmp_path / name).suffix
    assert only(tmp_path, name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("link", ["raised", "cause", "context"])
def test_a_disk_error_names_the_file_whatever_the_library_raises(tmp_path, number, link):
    path = tmp_path / "file.json"
    with pytest.raises(OSError, match="file.json") as caught, files.atomic_path(path):
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            if link == "raised":
                raise
            if link == "cause":
                raise LibraryError("could not write") from error
            raise LibraryError("could not write")  # noqa: B904 - the context is what is tested
    assert caught.value.errno == number and caught.value.filename == str(path) and only(tmp_path)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "none", "other"), LibraryError("other")])
def test_other_errors_are_passed_on_unchanged(tmp_path, error):
    with pytest.raises(type(error)) as caught, files.atomic_path(tmp_path / "file.json"):
        raise error
    assert caught.value is error


def test_a_full_disk(tmp_path):
    with disk(tmp_path / "small", "256k") as folder:
        path = folder / "file.json"
        files.write_text(path, "old")
        filler = fill(folder)
        with pytest.raises(OSError, match="file.json") as caught:
            files.write_text(path, "x" * 100_000)
        assert caught.value.errno == errno.ENOSPC
        assert path.read_text() == "old" and only(folder, "file.json", "filler")
        filler.unlink()
        files.write_text(path, "new")
        assert path.read_text() == "new"


def test_a_read_only_disk(tmp_path):
    with disk(tmp_path / "small", "256k") as folder:
        files.write_text(folder / "file.json", "old")
        make_read_only(folder)
        with pytest.raises(OSError, match="small") as caught:
            files.write_text(folder / "file.json", "new")
        assert caught.value.errno == errno.EROFS
        assert (folder / "file.json").read_text() == "old" and only(folder, "file.json")


def test_who_holds_a_folder(tmp_path):
    """Also by a process that looks while another one wants the lock."""
    assert files.holder(tmp_path) is None
    script = "from amorlip.common import files; from pathlib import Path; print(files.holder(Path('.')))"
    with files.locked(tmp_path):
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert f"'pid': {os.getpid()}, 'job': None" in done.stdout, done.stderr
    assert files.holder(tmp_path) is None
    assert only(tmp_path, ".lock") and (tmp_path / ".lock").stat().st_size == 0


# ---------------------------------------------------------------- set_aside


def test_files_set_aside_keep_their_paths_and_contents(tmp_path, capsys):
    for number in (1, 2):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / "a").write_text(f"a{number}")
        (tmp_path / "b").write_text(f"b{number}")
        files.set_aside(tmp_path, [tmp_path / "sub" / "a", tmp_path / "b"], "they are old")
        assert f"they are old; 2 files moved to {tmp_path / f'set-aside-{number}'}" in capsys.readouterr().out
    for number in (1, 2):
        aside = tmp_path / f"set-aside-{number}"
        assert (aside / "sub" / "a").read_text() == f"a{number}" and (aside / "b").read_text() == f"b{number}"
    files.set_aside(tmp_path, [], "nothing")
    assert not (tmp_path / "set-aside-3").exists() and capsys.readouterr().out == ""


@pytest.mark.parametrize(("number", "held"), [("EAGAIN", True), ("EACCES", True), ("ENOLCK", False), ("ENOSYS", False)])
def test_only_some_errors_of_a_lock_mean_another_process(tmp_path, monkeypatch, number, held):
    """The others are those of file systems without locks, which would else be waited for in vain."""
    code = getattr(errno, number)

    def lockf(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "lockf", lockf)
    with open(tmp_path / "lock", "a") as file:
        if held:
            assert not files.lock(file)
        else:
            with pytest.raises(OSError, match=str(tmp_path / "lock")):
                files.lock(file)
