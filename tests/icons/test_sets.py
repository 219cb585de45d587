from __future__ import annotations

import json
from pathlib import Path

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.icons.sets import choose_sets, read_icons
from tests.helpers.icon_sets import THINGS, icon_source, write_package


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return write_package(tmp_path_factory.mktemp("package"))


def test_sets_are_chosen_by_license_and_use(package):
    chosen, left_out = choose_sets(icon_source(), package)
    assert [info.name for info in chosen] == ["alpha", "beta", "gamma"]
    assert left_out == {"closed": "license GPL-3.0", "old": "superseded", "smile": "excluded"}
    assert (chosen[2].author, chosen[2].license) == ("Artist of gamma", "CC-BY-4.0")


def test_chosen_sets(package):
    chosen, left_out = choose_sets(icon_source(sets=["beta", "old"]), package)
    assert [info.name for info in chosen] == ["beta", "gamma", "old"] and left_out["alpha"] == "not chosen"
    with pytest.raises(AmorlipError, match="'closed' cannot be used: license GPL-3.0"):
        choose_sets(icon_source(sets=["closed"]), package)
    with pytest.raises(AmorlipError, match="'betta'; did you mean 'beta'"):
        choose_sets(icon_source(heldout_sets=["betta"]), package)


def test_no_set_for_training_is_one_line(package):
    with pytest.raises(AmorlipError, match="no icon set of @icons/json is left for training"):
        choose_sets(icon_source(heldout_sets=["alpha", "beta", "gamma"]), package)
    with pytest.raises(AmorlipError, match="is left for training"):
        choose_sets(icon_source(licenses=["ISC"], heldout_sets=[]), package)


def test_drawings_with_names_styles_and_tags(package):
    info = choose_sets(icon_source(), package)[0][0]
    icons, skipped = read_icons(package, info)
    found = {icon.icon: icon for icon in icons}
    assert len(icons) == 2 * len(THINGS) + 2 and skipped == {
        "deprecated": 1,
        "no name in words": 2,
        "same name and style, such as another size": len(THINGS),
    }
    assert found["red-box-outline"].name == ("red box", "outline")
    assert found["red-box"].tags == ("ruddy box", "things more")  # the mirrored one is another drawing
    assert found["red-box"].svg.startswith("<svg") and 'viewBox="0 0 24 24"' in found["red-box"].svg


def change(package: Path, folder: Path, file: str, **changes) -> Path:
    """A copy of the package with other values in one file."""
    copy = write_package(folder)
    path = copy / file
    path.write_text(json.dumps({**json.loads((package / file).read_text()), **changes}))
    return copy


def test_a_set_with_another_license_than_listed_is_refused(package, tmp_path):
    copy = change(package, tmp_path, "json/alpha.json", info={"license": {"spdx": "CC-BY-NC-4.0"}})
    info = choose_sets(icon_source(), copy)[0][0]
    with pytest.raises(AmorlipError, match="its license is 'CC-BY-NC-4.0', but collections.json says 'MIT'"):
        read_icons(copy, info)


@pytest.mark.parametrize(
    "content",
    [{"info": "MIT"}, {"icons": []}, {"icons": {"a-box": 3}}, {"icons": {"a-box": {}}}, {"categories": {"All": 3}}],
)
def test_what_is_no_icon_set_is_one_line(package, tmp_path, content):
    copy = change(package, tmp_path, "json/alpha.json", **content)
    with pytest.raises(AmorlipError, match=r"alpha\.json is not an icon set: .*delete the package's folder"):
        read_icons(copy, choose_sets(icon_source(), copy)[0][0])


@pytest.mark.parametrize("name", ["../up", "a/b", ""])
def test_a_name_of_a_set_that_is_a_path_is_refused(package, tmp_path, name):
    copy = change(package, tmp_path, "collections.json", **{name: {"name": "x", "author": {"name": "x"}}})
    with pytest.raises(AmorlipError, match="is described wrongly: not a name of a set"):
        choose_sets(icon_source(), copy)
