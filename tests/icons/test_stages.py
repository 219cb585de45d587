"""The stages on a miniature package: from drawings to a list of pairs and an evaluation set."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.corpus.records import DownloadRecord
from amorlip.stages import artwork, tasks, urls
from tests.helpers.icon_sets import icon_source, write_package
from tests.helpers.miniatures import any_corpus


def test_from_drawings_to_lists_and_tasks(tmp_path):
    pictures = tmp_path / "artwork"
    write_package(pictures)
    source = icon_source().model_dump()
    artwork.run({"icons": source}, pictures)
    settings = {"source": "icons", "icons": source}
    urls.run(settings, pictures, tmp_path / "urls.parquet")
    listed = pd.read_parquet(tmp_path / "urls.parquet")
    assert (listed["split"] == "train").sum() > 50
    corpus = any_corpus(**settings)
    assert corpus.names_files("train")  # the stage `download` reads addresses of files only where it may
    DownloadRecord(source=corpus.source, split="train", requested=1, downloaded=1, failed={}, shards=[])
    task = {"kind": "icons", "corpus": "icons", "builder": "heldout_names", "content": {"kind": "retrieval"}}
    tasks.run(task, pictures, tmp_path / "task", allow_missing=False)
    record = json.loads((tmp_path / "task" / "task.json").read_text())
    assert record["source"]["builder"] == "heldout_names" and "test/0.tar" in record["files"]


def test_pictures_are_needed(tmp_path):
    settings = {"source": "icons", "icons": icon_source().model_dump()}
    with pytest.raises(AmorlipError, match="--artwork is missing"):
        urls.run(settings, None, tmp_path / "urls.parquet")
