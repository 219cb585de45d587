from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname, urlopen

import pandas as pd
import pytest

from amorlip.config.corpus import EmojiSource
from amorlip.emoji import artwork as emoji
from tests.helpers.miniatures import DIGEST, build_mini_artwork, mini_source


@pytest.fixture(scope="module")
def artwork(tmp_path_factory) -> Path:
    return build_mini_artwork(tmp_path_factory.mktemp("artwork"))


def roles(source: EmojiSource, names: int = 4000, styles: tuple[str, ...] = ("twemoji", "noto", "openmoji")) -> dict:
    return {(name, style): emoji.role_of(source, f"{name:X}", style) for name in range(names) for style in styles}


def test_fractions_and_whole_names():
    source = mini_source(heldout_names=0.1, heldout_instances=0.05)
    found = roles(source)
    by_name = defaultdict(set)
    for (name, style), role in found.items():
        assert (role == "heldout_style") == (style == "openmoji")
        if style != "openmoji":
            by_name[name].add(role)
    # A name is held out in all training styles or in none.
    held = [name for name, kinds in by_name.items() if "heldout_name" in kinds]
    assert all(by_name[name] == {"heldout_name"} for name in held)
    assert len(held) / 4000 == pytest.approx(0.1, abs=0.02)
    instances = sum(role == "heldout_instance" for role in found.values())
    assert instances / (2 * (4000 - len(held))) == pytest.approx(0.05, abs=0.012)


def test_splits_depend_on_the_seed_alone():
    source = mini_source(heldout_names=0.3, heldout_instances=0.3)
    assert roles(source, 200) == roles(source, 200)
    assert roles(source, 200) != roles(mini_source(heldout_names=0.3, heldout_instances=0.3, seed=1), 200)
    # A larger fraction only adds names; neither other styles nor more names move any.
    more = roles(mini_source(heldout_names=0.5, heldout_instances=0.3), 200)
    assert all(more[key] == "heldout_name" for key, role in roles(source, 200).items() if role == "heldout_name")


def test_pictures_of_all_styles_with_their_names(artwork):
    pictures = pd.read_parquet(artwork / emoji.PICTURES)
    assert pictures["style"].value_counts().to_dict() == dict.fromkeys(["twemoji", "noto", "openmoji", "fluent_3d"], 60)
    assert all((artwork / picture).is_file() for picture in pictures["picture"])
    assert set(pictures["role"]) == {"train", "heldout_name", "heldout_instance", "heldout_style"}
    row = pictures[(pictures["style"] == "noto") & (pictures["name"] == "thing 3")].iloc[0]
    assert (row["hexcode"], row["group"], row["subgroup"]) == ("1F603", "all", "sub-3")
    assert list(row["tags"]) == ["delta", "thing"]


def test_packages_are_accounted_for(artwork):
    account = {entry["package"]: entry for entry in json.loads((artwork / "packages.json").read_text())}
    first = account["@set/tw"]
    assert first["pictures"] == 60 and first["skipped"] == {"blank": 1, "cannot be rendered": 1}
    assert (first["license"], first["version"], first["integrity"]) == ("MIT", "1.0.0", DIGEST)
    assert account["@set/no"]["skipped"] == {} and "pictures" not in account["names"]


def test_the_same_artwork_twice(artwork, tmp_path):
    again = build_mini_artwork(tmp_path)
    files = [path.relative_to(artwork) for path in artwork.rglob("*") if path.is_file()]
    assert len(files) > 240
    assert all((again / file).read_bytes() == (artwork / file).read_bytes() for file in files)


def test_addresses_of_training_and_heldout_names(artwork, tmp_path):
    emoji.write_urls(artwork, tmp_path / "urls.parquet")
    urls = pd.read_parquet(tmp_path / "urls.parquet")
    pictures = pd.read_parquet(artwork / emoji.PICTURES)
    assert urls["sample_id"].tolist() == list(range(len(urls)))
    for split, role in (("train", "train"), ("validation", "heldout_name")):
        paths = {url2pathname(urlparse(url).path) for url in urls.loc[urls["split"] == split, "url"]}
        expected = pictures.loc[pictures["role"] == role, "picture"]
        assert paths == {str(artwork / picture) for picture in expected} and len(paths) > 4
    assert urls["caption"].str.len().min() > 0
    with urlopen(urls["url"][0]) as answer:
        assert (
            answer.read()
            == (artwork / pictures.loc[pictures["role"] != "heldout_instance", "picture"].iloc[0]).read_bytes()
        )
    # The same name gets other words in another style.
    assert urls["caption"].nunique() > pictures["name"].nunique()


def test_other_pictures_have_other_addresses(artwork, tmp_path):
    emoji.write_urls(artwork, tmp_path / "urls.parquet")
    other = tmp_path / "other"
    shutil.copytree(artwork, other)
    changed = pd.read_parquet(other / emoji.PICTURES).query("role == 'train'")["picture"].iloc[3]
    (other / changed).write_bytes(b"redrawn")
    emoji.write_urls(other, tmp_path / "other.parquet")
    digests = [
        pd.read_parquet(tmp_path / name)["url"].str.partition("#")[2] for name in ("urls.parquet", "other.parquet")
    ]
    assert (digests[0] != digests[1]).sum() == 1
