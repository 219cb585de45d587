"""The sets are read back here with plain tarfile, csv and zipfile."""

from __future__ import annotations

import csv
import json
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.icons import artwork as icons
from amorlip.icons import task_sets
from tests.helpers.icon_sets import icon_source, write_package


@pytest.fixture(scope="module")
def trained(artwork) -> set[str]:
    pictures = pd.read_parquet(artwork / icons.PICTURES)
    return set(pictures.loc[pictures["role"] == "train", "name"])


def test_names_of_training_in_heldout_sets(artwork, trained, tmp_path):
    task_sets.build_task("heldout_sets", artwork, tmp_path)
    names = (tmp_path / "classnames.txt").read_text().splitlines()
    assert set(names) <= trained and names == sorted(set(names)) and len(names) > 20
    with tarfile.open(tmp_path / "test" / "0.tar") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    for key in {name.partition(".")[0] for name in found}:
        name = names[int(found[f"{key}.cls"])]
        assert found[f"{key}.png"] == (artwork / "pictures/gamma" / f"{name.replace(' ', '-')}.png").read_bytes()


@pytest.mark.parametrize(("builder", "sets"), [("heldout_names", {"alpha", "beta"}), ("heldout_both", {"gamma"})])
def test_retrieval_of_unseen_names(artwork, trained, tmp_path, builder, sets):
    task_sets.build_task(builder, artwork, tmp_path)
    rows = list(csv.DictReader((tmp_path / f"test_{builder}.csv").open(newline="")))
    assert {row["filename"].partition("_")[0] for row in rows} <= sets and len(rows) >= 4
    names = {row["filename"]: [json.loads(row["raw"])][0] for row in rows}
    for texts in names.values():
        assert len(texts) == 5 and not any(name in text for text in texts for name in trained)
    with zipfile.ZipFile(tmp_path / f"images_{builder}_test.zip") as archive:
        assert {Path(name).name for name in archive.namelist()} == set(names)


def test_a_retrieval_set_has_each_name_once_and_a_bound(artwork, tmp_path, monkeypatch):
    monkeypatch.setattr(task_sets, "MOST_IMAGES", 3)
    task_sets.build_task("heldout_names", artwork, tmp_path)
    assert len(list(csv.DictReader((tmp_path / "test_heldout_names.csv").open(newline="")))) == 3


def test_what_is_missing_is_told(artwork, tmp_path):
    with pytest.raises(AmorlipError, match="unknown task builder 'heldout_set'; did you mean 'heldout_sets'"):
        task_sets.build_task("heldout_set", artwork, tmp_path)
    with pytest.raises(AmorlipError, match="holds no artwork.*run the stage `artwork`"):
        task_sets.build_task("heldout_sets", tmp_path, tmp_path)
    write_package(tmp_path)
    icons.build_artwork(icon_source(heldout_sets=[]), tmp_path)
    with pytest.raises(AmorlipError, match="no picture of a held-out set"):
        task_sets.build_task("heldout_sets", tmp_path, tmp_path / "task")
