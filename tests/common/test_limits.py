"""Files of strangers are read up to a bound, and only regular ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_file, read_json
from amorlip.common.records import JsonRecord
from amorlip.config.load import read_yaml


class Note(JsonRecord):
    number: int


def test_up_to_the_bound(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(AmorlipError, match="/a has more than"):
        read_file(tmp_path / "a", 4)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_file, read_json, read_yaml, Note.read])
def test_what_would_never_end(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(AmorlipError, match="not a regular file"):
            read(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"number": ' * 100_000,
        "9" * 5000,
        '{"number": 1e999}',
        '{"number": true',
        "\udcff",
        "[]",
        "null",
    ],
)
def test_hostile_json(tmp_path, text):
    path = tmp_path / "note.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(AmorlipError) as caught:
        Note.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    if text[0] in "[{9\udcff" and len(text) != 2 and text != '{"number": 1e999}':
        with pytest.raises(ValueError):
            read_json(path)
