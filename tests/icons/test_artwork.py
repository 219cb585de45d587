from __future__ import annotations

import json
import shutil
from urllib.parse import urlparse

import pandas as pd
import pytest

from amorlip.common.errors import AmorlipError
from amorlip.icons import artwork as icons
from amorlip.icons.names import base_of
from tests.helpers.icon_sets import THINGS, icon_source, write_package


@pytest.fixture(scope="module")
def pictures(artwork) -> pd.DataFrame:
    return pd.read_parquet(artwork / icons.PICTURES)


def test_names_are_held_out_in_all_sets_and_sets_whole(pictures):
    assert set(pictures.loc[pictures["set"] == "gamma", "role"]) == {"heldout_set"}
    others = pictures[pictures["set"] != "gamma"].assign(base=pictures["name"].map(base_of))
    assert set(others["role"]) == {"train", "heldout_name"} and others.groupby("base")["role"].nunique().max() == 1
    heldout = others.loc[others["role"] == "heldout_name", "base"].nunique()
    assert 4 <= heldout <= 16  # a quarter of some 40 names


def test_fractions_and_the_seed():
    source = icon_source(heldout_names=0.1)
    found = [icons.is_heldout(source, f"thing {n}") for n in range(4000)]
    assert 0.08 < sum(found) / 4000 < 0.12
    assert found != [icons.is_heldout(icon_source(heldout_names=0.1, seed=1), f"thing {n}") for n in range(4000)]
    assert icons.role_of(source, "thing", "gamma") == "heldout_set"


def test_copies_between_sets_are_left_out_and_counted(artwork, pictures):
    found = set(pictures["set"] + ":" + pictures["icon"])
    assert not found & {"beta:copied-one", "beta:copied-two"} and "beta:tinted-egg" in found
    entries = {entry["name"]: entry for entry in json.loads((artwork / "sets.json").read_text())["sets"]}
    assert entries["beta"]["skipped"] == {"looks like one of another set": 1, "same paths as another": 1}
    assert sum(entries["beta"]["pictures"].values()) == len(THINGS) + 1


def test_sets_are_accounted_for(artwork, pictures):
    record = json.loads((artwork / "sets.json").read_text())
    assert (record["package"], record["version"]) == ("@icons/json", "1.0.0")
    assert record["left_out"] == {"closed": "license GPL-3.0", "old": "superseded", "smile": "excluded"}
    alpha = next(entry for entry in record["sets"] if entry["name"] == "alpha")
    assert (alpha["author"], alpha["license"], alpha["heldout"]) == ("Artist of alpha", "MIT", False)
    assert alpha["skipped"] == {
        "blank": 1, "cannot be rendered": 1, "deprecated": 1, "no name in words": 2,
        "same name and style, such as another size": 40,
    }  # fmt: skip
    assert sum(alpha["pictures"].values()) == (pictures["set"] == "alpha").sum() == 2 * len(THINGS)
    assert {entry["name"]: entry["heldout"] for entry in record["sets"]}["gamma"]


def test_every_picture_is_there_and_nothing_is_outside(artwork, pictures):
    assert all((artwork / picture).is_file() for picture in pictures["picture"])
    assert not list(artwork.rglob("*escape*")) and not list(artwork.parent.glob("*escape*"))


def test_tags_of_training_are_no_heldout_names(artwork, pictures, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(artwork, again)
    # A seed at which the category is a held-out name and one of its things is not.
    sources = (icon_source(seed=seed) for seed in range(100))
    source = next(one for one in sources if icons.is_heldout(one, "things more") > icons.is_heldout(one, "red box"))
    icons.build_artwork(source, again)
    found = pd.read_parquet(again / icons.PICTURES)
    for role, has_it in (("train", False), ("heldout_name", True)):
        tags = {tag for tags in found.loc[found["role"] == role, "tags"] for tag in tags}
        assert ("things more" in tags) == has_it
    assert "things more" in {tag for tags in pictures["tags"] for tag in tags}


def test_addresses_of_training_and_heldout_names(artwork, pictures, tmp_path):
    icons.write_urls(artwork, tmp_path / "urls.parquet")
    urls = pd.read_parquet(tmp_path / "urls.parquet")
    assert urls["sample_id"].tolist() == list(range(len(urls)))
    for split, role in (("train", "train"), ("validation", "heldout_name")):
        paths = {urlparse(url).path for url in urls.loc[urls["split"] == split, "url"]}
        assert paths == {str(artwork / picture) for picture in pictures.loc[pictures["role"] == role, "picture"]}
        assert paths
    names = pictures[pictures["role"] != "heldout_set"]["name"]
    assert all(name in caption for name, caption in zip(names, urls["caption"], strict=True))


def test_a_second_call_renders_nothing_again_and_gives_the_same(artwork, pictures, tmp_path, monkeypatch):
    again = tmp_path / "again"
    shutil.copytree(artwork, again)
    monkeypatch.setattr(icons, "render_set", lambda *_: pytest.fail("was rendered again"))
    icons.build_artwork(icon_source(), again)
    pd.testing.assert_frame_equal(pd.read_parquet(again / icons.PICTURES), pictures)
    assert (again / "sets.json").read_bytes() == (artwork / "sets.json").read_bytes()


def test_what_a_killed_call_finished_is_kept(artwork, tmp_path, monkeypatch):
    write_package(tmp_path)
    rendered = []
    render_set = icons.render_set

    def until_killed(found, folder, size):
        rendered.append(folder.name)
        if rendered == ["alpha", "beta"]:
            (folder / "half").mkdir(parents=True)
            raise KeyboardInterrupt
        return render_set(found, folder, size)

    monkeypatch.setattr(icons, "render_set", until_killed)
    with pytest.raises(KeyboardInterrupt):
        icons.build_artwork(icon_source(), tmp_path)
    assert not (tmp_path / icons.PICTURES).exists()
    icons.build_artwork(icon_source(), tmp_path)
    assert rendered == ["alpha", "beta", "beta", "gamma"]
    files = [path.relative_to(artwork) for path in artwork.rglob("*") if path.is_file() and path.name[0] != "."]
    assert len(files) > 100
    assert all((tmp_path / file).read_bytes() == (artwork / file).read_bytes() for file in files)


def test_another_size_is_rendered_again(artwork, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(artwork, again)
    icons.build_artwork(icon_source(picture_size=8), again)
    assert (again / "pictures/alpha/red-box.png").read_bytes() != (artwork / "pictures/alpha/red-box.png").read_bytes()


def test_a_damaged_table_of_a_set_is_one_line(artwork, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(artwork, again)
    (again / "sets" / "beta.parquet").write_bytes(b"damaged")
    with pytest.raises(AmorlipError, match=r"beta\.parquet cannot be read: .*delete it and run again"):
        icons.build_artwork(icon_source(), again)
