"""Links that others put at names they can guess, in a folder that a group may write to."""

from __future__ import annotations

import os

import pytest

from amorlip.common import files, hub
from amorlip.common.errors import AmorlipError

PLANTED = {
    "symbolic link": lambda place, victim: place.symlink_to(victim),
    "hard link": lambda place, victim: place.hardlink_to(victim),
    "pipe": lambda place, victim: os.mkfifo(place),
}


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "precious"
    path.write_text("content")
    return path


@pytest.mark.parametrize("mode", ["a", "ab"])
@pytest.mark.parametrize("kind", PLANTED)
def test_no_planted_file_is_opened(tmp_path, victim, kind, mode):
    place = tmp_path / ".data.part"
    PLANTED[kind](place, victim)
    with pytest.raises(AmorlipError, match="link or not a regular file"):
        files.open_to_append(place, mode).close()
    assert victim.read_text() == "content"


def test_an_unfinished_download_is_not_written_through_a_link(tmp_path, victim):
    (tmp_path / "part").symlink_to(victim)
    with pytest.raises(AmorlipError, match="link or not a regular file"):
        hub._resume("http://127.0.0.1:9/", tmp_path / "part", 1, {})
    assert victim.read_text() == "content"


def test_a_lock_makes_no_file_through_a_link(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AmorlipError, match="link or not a regular file"), files.locked(folder):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_temporary_name_that_exists_is_not_used(tmp_path, victim, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".new.txt.guessed.txt").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "new.txt", "text")
    assert victim.read_text() == "content"


def test_new_files_have_the_usual_permissions_and_the_umask_stays(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda _: pytest.fail("other threads write files meanwhile"))
            files.write_text(tmp_path / "new.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "new.txt").stat().st_mode & 0o777 == 0o640
