"""The sets are read back here with plain tarfile, csv and zipfile."""

from __future__ import annotations

import ast
import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from amorlip.common.errors import AmorlipError
from amorlip.emoji import task_sets
from amorlip.emoji.artwork import PICTURES
from amorlip.emoji.names import slug
from tests.helpers.miniatures import TAGS, build_mini_artwork


@pytest.fixture(scope="module")
def artwork(tmp_path_factory) -> Path:
    return build_mini_artwork(tmp_path_factory.mktemp("artwork"))


@pytest.fixture(scope="module")
def pictures(artwork) -> pd.DataFrame:
    return pd.read_parquet(artwork / PICTURES)


@pytest.fixture(scope="module")
def seen(pictures) -> set[str]:
    return set(pictures.loc[pictures["role"] == "train", "name"])


def build(builder: str, artwork: Path, folder: Path) -> Path:
    task_sets.build_task(builder, artwork, folder)
    return folder


def read_classification(folder: Path) -> SimpleNamespace:
    assert (folder / "test" / "nshards.txt").read_text() == "1\n"
    names = (folder / "classnames.txt").read_text().splitlines()
    templates = (folder / "zeroshot_classification_templates.txt").read_text().splitlines()
    assert all("{c}" in template for template in templates)
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(folder / "test" / "0.tar") as tar:
        for member in tar:
            key, _, ending = member.name.partition(".")
            samples.setdefault(key, {})[ending] = tar.extractfile(member).read()
    labels = [int(sample["cls"]) for sample in samples.values()]
    assert set(labels) == set(range(len(names)))
    metadata = [np.load(io.BytesIO(sample["npy"])) for sample in samples.values() if "npy" in sample]
    images = [sample["png"] for sample in samples.values()]
    return SimpleNamespace(names=names, labels=[names[label] for label in labels], images=images, metadata=metadata)


@pytest.mark.parametrize("style", ["openmoji", "fluent_3d"])
def test_training_names_in_a_heldout_style(artwork, pictures, seen, tmp_path, style):
    task = read_classification(build(style, artwork, tmp_path))
    assert len(task.names) == len(set(task.names)) == len(task.labels) and set(task.names) == seen
    files = pictures[pictures["style"] == style].set_index("name")["picture"]
    assert all(
        image == (artwork / files[name]).read_bytes() for image, name in zip(task.images, task.labels, strict=True)
    )
    assert task.metadata == []


def test_heldout_drawings(artwork, pictures, seen, tmp_path):
    task = read_classification(build("heldout_instances", artwork, tmp_path))
    expected = pictures[(pictures["role"] == "heldout_instance") & pictures["name"].isin(seen)]
    assert sorted(task.labels) == sorted(expected["name"]) and set(task.names) == set(task.labels) <= seen
    trained = {(artwork / picture).read_bytes() for picture in pictures.loc[pictures["role"] == "train", "picture"]}
    assert not trained & set(task.images)


def test_subgroups(artwork, pictures, tmp_path):
    task = read_classification(build("subgroups", artwork, tmp_path))
    assert task.names == [f"sub {number}" for number in range(6)] and len(task.labels) == 60


def test_sketches_of_known_things(artwork, seen, tmp_path):
    task = read_classification(build("quickdraw", artwork, tmp_path))
    known = {name.lower() for name in seen} & {"thing 1", "thing 2", "thing 5", "thing 7"}
    assert {name.lower() for name in task.names} == known and "unknown" not in task.names and known
    assert len(task.labels) == task_sets.SKETCHES_PER_CLASS * len(known)
    drawing = np.asarray(Image.open(io.BytesIO(task.images[2])))
    assert drawing.shape == (28, 28, 3) and (drawing[0, :3] == 0).all() and (drawing.reshape(-1, 3)[3:] == 255).all()


def test_digits(artwork, tmp_path):
    task = read_classification(build("digits", artwork, tmp_path))
    assert task.labels == [task_sets.DIGITS[i // 5 % 10] for i in range(0, 100, 5)]
    assert [np.asarray(Image.open(io.BytesIO(image)))[0, 0, 0] for image in task.images] == list(range(0, 100, 5))


def test_styles_share_their_names(artwork, pictures, tmp_path):
    task = read_classification(build("styles", artwork, tmp_path))
    styles = sorted(set(pictures["style"]))
    rows = pd.DataFrame({"name": task.labels, "style": [styles[int(row[0])] for row in task.metadata]})
    assert all(row.shape == (1,) and row.dtype == np.int64 for row in task.metadata) and len(rows) == len(task.images)
    for style in ("openmoji", "fluent_3d"):
        assert set(rows.loc[rows["style"] == style, "name"]) == set(task.names)
    instances = pictures[pictures["role"] == "heldout_instance"].set_index(["style", "name"]).index
    assert set(rows[rows["style"].isin(["twemoji", "noto"])].set_index(["style", "name"]).index) <= set(instances)
    files = pictures.set_index(["style", "name"])["picture"]
    for image, row in zip(task.images, rows.itertuples(), strict=True):
        assert image == (artwork / files[row.style, row.name]).read_bytes()


def test_retrieval_of_unseen_names(artwork, pictures, seen, tmp_path):
    folder = build("heldout_names", artwork, tmp_path)
    rows = list(csv.DictReader((folder / "test_heldout_names.csv").open(newline="")))
    expected = pictures[(pictures["style"] == "twemoji") & (pictures["role"] == "heldout_name")].set_index("hexcode")
    assert [row["filename"] for row in rows] == [f"{code.lower()}.jpg" for code in sorted(expected.index)] and rows
    with zipfile.ZipFile(folder / "images_heldout_names_test.zip") as archive:
        for row in rows:
            image = Image.open(io.BytesIO(archive.read(f"images_heldout_names_test/{row['filename']}")))
            assert image.format == "JPEG" and image.size == (16, 16)
            name = expected["name"][row["filename"].removesuffix(".jpg").upper()]
            texts = json.loads(row["raw"])
            assert len(texts) == 5 and all(name in text for text in texts) and name not in seen


def test_association_rounds(artwork, pictures, tmp_path):
    folder = build("association", artwork, tmp_path)
    rows = list(csv.DictReader((folder / "winogavil_dataset.csv").open(newline="")))
    tags = {slug(name): tags for name, tags in zip(pictures["name"], pictures["tags"], strict=True)}
    assert {row["cue"] for row in rows} == set(TAGS)  # 'thing' is everywhere
    for row in rows:
        candidates, associations = ast.literal_eval(row["candidates"]), ast.literal_eval(row["associations"])
        assert [word for word in candidates if row["cue"] in tags[word]] == [w for w in candidates if w in associations]
        assert len(candidates) == len(set(candidates)) == int(row["num_candidates"]) in task_sets.ROUND_SIZES
        assert 2 <= len(associations) == int(row["num_associations"]) <= len(candidates) / 2
    with zipfile.ZipFile(folder / "winogavil_images.zip") as archive:
        used = {word for row in rows for word in ast.literal_eval(row["candidates"])}
        assert {Path(name).stem for name in archive.namelist()} == used


def test_associations_are_not_always_first():
    words = [f"w{i}" for i in range(80)]
    tags = [[["sun", "sea"][i % 2]] if i < 40 else ["other"] for i in range(80)]
    table = pd.DataFrame({"word": words, "tags": tags, "subgroup": [str(i % 2 if i < 40 else 2) for i in range(80)]})
    rounds = task_sets.association_rounds(table)
    assert any(play.candidates[: len(play.associations)] != play.associations for play in rounds)


def test_files_are_the_same_every_time(artwork, tmp_path):
    for builder in task_sets.BUILDERS:
        first, second = (build(builder, artwork, tmp_path / when / builder) for when in "ab")
        files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
        assert files and all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_what_is_missing_is_told(artwork, tmp_path):
    with pytest.raises(AmorlipError, match="unknown task builder 'opnmoji'; did you mean 'openmoji'"):
        build("opnmoji", artwork, tmp_path)
    with pytest.raises(AmorlipError, match="holds no artwork.*run the stage `artwork`"):
        build("openmoji", tmp_path, tmp_path)
