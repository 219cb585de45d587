"""The files that hand stages their settings."""

from __future__ import annotations

import pytest

from amorlip.study import settings_file

SETTINGS = {"name": "caf\u00e9", "epochs": 2}


@pytest.mark.parametrize("altered", [b"", b'{"epochs": 3}\n', b"\xff"])
def test_an_altered_file_is_written_again(tmp_path, altered):
    path = settings_file("train", SETTINGS, tmp_path)
    right = path.read_bytes()
    path.write_bytes(altered)
    assert settings_file("train", SETTINGS, tmp_path) == path
    assert path.read_bytes() == right


def test_an_unaltered_file_is_left_alone(tmp_path):
    path = settings_file("train", SETTINGS, tmp_path)
    before = path.stat()
    settings_file("train", SETTINGS, tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
