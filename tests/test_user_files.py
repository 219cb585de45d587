"""Files that users give by path: found, and their state told apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amorlip import user_files
from amorlip.config.benchmark import TaskSource
from amorlip.config.corpus import Corpus
from amorlip.config.selection import ExternalModel


def corpus(train: str, validation: str | None = None) -> Corpus:
    urls = {split: {"url": url, "columns": ["url", "caption"]} for split, url in
            (("train", train), ("validation", validation)) if url}  # fmt: skip
    return Corpus.model_validate({"title": "x", "source": "urls", "urls": urls})


def test_lists_on_this_machine_are_found() -> None:
    found = user_files.lists(corpus("file:///a%20b.tsv", "FILE:///c.tsv"))
    assert found == [Path("/a b.tsv"), Path("/c.tsv")]
    assert user_files.lists(corpus("https://host/a.tsv", "file:///c.tsv")) == [Path("/c.tsv")]


def test_lists_of_an_unused_source_do_not_count() -> None:
    used = {"repository": "a/b", "train": "*", "validation": "*"}
    keys = corpus("file:///a.tsv").model_dump() | {"source": "mirror", "mirror": used}
    assert user_files.lists(Corpus.model_validate(keys)) == []


def test_weights_are_a_file_or_a_name(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    model = ExternalModel(title="x", model="RN50", pretrained=str(tmp_path / "w.pt"))
    assert user_files.weights(model) == [tmp_path / "w.pt"]
    assert user_files.weights(model.model_copy(update={"pretrained": "openai"})) == []


def touch(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch()


CHANGES: list[tuple[str, Callable[[Path], object], bool]] = [
    ("nothing", lambda folder: None, False),
    ("more bytes", lambda folder: (folder / "test/0.tar").write_bytes(b"longer"), True),
    ("a new time", lambda folder: os.utime(folder / "test/0.tar", (5, 5)), True),
    ("a new file", lambda folder: touch(folder / "new"), True),
    ("a renamed file", lambda folder: (folder / "test/0.tar").rename(folder / "test/1.tar"), True),
    ("a deleted file", lambda folder: (folder / "test/0.tar").unlink(), True),
    ("a file behind a link", lambda folder: (folder.parent / "other/0.tar").write_bytes(b"longer"), True),
    ("a name that is not UTF-8", lambda folder: touch(folder / os.fsdecode(b"\xff")), True),
    ("a link to a parent", lambda folder: (folder / "up").symlink_to(folder), False),
    ("a hidden file", lambda folder: touch(folder / ".DS_Store"), False),
    ("a file in a hidden folder", lambda folder: touch(folder / ".cache/x"), False),
]


@pytest.mark.parametrize(("change", "seen"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_folder_s_stamp_follows_its_files(tmp_path: Path, change: Callable[[Path], object], seen: bool) -> None:
    folder = tmp_path / "set"
    for path in (folder / "test/0.tar", tmp_path / "other/0.tar"):
        path.parent.mkdir(parents=True)
        path.touch()
    (folder / "linked").symlink_to(tmp_path / "other")
    source = TaskSource(kind="folder", path=str(folder))
    before = user_files.stamp(source)
    change(folder)
    assert (user_files.stamp(source) != before) == seen


def test_only_folders_have_a_stamp() -> None:
    assert user_files.stamp(TaskSource(kind="hub", repository="a/b")) is None
