"""Deleted files: the records that list them, and the files that make their stage run again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from amorlip.common import files
from amorlip.config.load import read_yaml
from amorlip.deleted_files import note_deleted
from amorlip.study import Study, load_study
from tests.helpers import REPOSITORY

RECORDS = [
    ("corpora/demo/train", "download.json", {"shards": ["sub/0.tar"]}, "sub/0.tar", "corpora/demo/train.json"),
    ("tasks/digits", "task.json", {"source": {}, "files": {"test/0.tar": "x"}}, "test/0.tar", "tasks/digits.json"),
    ("corpora/demo/artwork", "packages.json", [{"pictures": 1}, {}], "pictures/a/b.png", "corpora/demo/artwork.json"),
]


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(read_yaml(REPOSITORY / "config/config.yaml"), REPOSITORY / "config")


@pytest.mark.parametrize(("folder", "record", "content", "name", "noted"), RECORDS)
def test_a_deleted_file_is_noted(study, tmp_path: Path, folder, record, content, name, noted) -> None:
    made = tmp_path / folder / name
    made.parent.mkdir(parents=True)
    made.touch()
    files.write_json(tmp_path / folder / record, content)
    note = tmp_path / "deleted" / noted
    note_deleted(study, tmp_path)
    assert json.loads(note.read_text()) == {"deleted": []}
    assert note.stat().st_mtime == 0, "newer than an output, it would make the stage run"
    made.unlink()
    note_deleted(study, tmp_path)
    assert len(json.loads(note.read_text())["deleted"]) == 1
    assert note.stat().st_mtime > 0
    made.touch()
    note_deleted(study, tmp_path)
    assert json.loads(note.read_text()) == {"deleted": []}, "it is there again"
    assert note.stat().st_mtime == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"shards": 3}', '{"files": null}'])
def test_a_damaged_record_is_left_to_its_stage(study, tmp_path: Path, text: str) -> None:
    for folder, record, *_ in RECORDS:
        files.write_text(tmp_path / folder / record, text)
    note_deleted(study, tmp_path)
    notes = [path for path in (tmp_path / "deleted").rglob("*.json") if os.stat(path).st_mtime]
    assert notes == []
