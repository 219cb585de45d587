"""The pairs of a validation split, as a retrieval task."""

from __future__ import annotations

import hashlib
import tarfile

import numpy as np
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import TaskSource
from amorlip.corpus.manifest import read_manifest
from amorlip.loader.held_out import build_task
from amorlip.loader.index import read_index
from amorlip.stages import tasks
from amorlip.tasks.read import open_retrieval
from tests.helpers import tiny


def stored(folder):
    """(image, caption) of each pair, as the index of the split finds them."""
    manifest = read_manifest(folder)
    for row in read_index(folder, manifest):
        data = (folder / manifest.shards[row["shard"]].name).read_bytes()
        image, caption = (
            data[row[f"{what}_offset"] : row[f"{what}_offset"] + row[f"{what}_bytes"]] for what in ("image", "caption")
        )
        yield hashlib.sha256(image).hexdigest(), caption.decode()


def test_each_pair_is_an_image_with_one_caption(tmp_path):
    split = tiny.write_corpus(tmp_path / "validation")
    source = TaskSource(kind="validation", corpus="tiny").model_dump()
    tasks.run(source, artwork=None, validation=split, output=tmp_path / "task", allow_missing=False)
    task = open_retrieval(tmp_path / "task")
    pairs = list(stored(split))
    assert len(pairs) == tiny.PAIRS
    assert task.captions == [caption for _, caption in pairs]
    assert list(task.image_of) == list(range(tiny.PAIRS))
    with tarfile.open(tmp_path / "task" / "test" / "0.tar") as tar:
        images = [tar.extractfile(member).read() for member in tar.getmembers() if member.name.endswith(".png")]
    assert [hashlib.sha256(image).hexdigest() for image in images] == [image for image, _ in pairs][: len(images)]
    assert len(list(task.images.records())) == tiny.PAIRS
    assert '"corpus": "tiny"' in (tmp_path / "task" / "task.json").read_text()


def test_equal_splits_give_equal_files(tmp_path):
    split = tiny.write_corpus(tmp_path / "validation")
    for name in ("a", "b"):
        build_task(split, tmp_path / name)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "test").iterdir()} for name in ("a", "b")
    )
    assert set(first) == {"nshards.txt", "0.tar", "1.tar"} and first == second


def test_a_split_without_pairs_is_refused(tmp_path, monkeypatch):
    split = tiny.write_corpus(tmp_path / "validation")
    monkeypatch.setattr("amorlip.loader.held_out.read_index", lambda folder, manifest: np.empty(0))
    with pytest.raises(AmorlipError, match="has no pairs; raise urls.validation_fraction"):
        build_task(split, tmp_path / "task")
