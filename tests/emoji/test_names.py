from __future__ import annotations

import json

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.emoji.names import (  # fmt: skip
    Emoji,
    file_drawings,
    icon_drawings,
    read_emoji,
    resolve_alias,
    slug,
    svg_document,
)


def emoji(hexcode: str, name: str, unicode_name: str = "") -> Emoji:
    return Emoji(hexcode, name, (), "group", "subgroup", unicode_name)


def icon_set(folder, icons, chars=None, **more):
    folder.mkdir(parents=True, exist_ok=True)
    bodies = {name: icon if isinstance(icon, dict) else {"body": icon} for name, icon in icons.items()}
    (folder / "icons.json").write_text(json.dumps({"prefix": "test", "icons": bodies, "width": 8, "height": 8, **more}))
    if chars:
        (folder / "chars.json").write_text(json.dumps(chars))
    return folder


def body_of(folder, one):
    found = icon_drawings(folder, "style", [one])
    return found[0].svg.partition(">")[2].removesuffix("</svg>") if found else None


@pytest.mark.parametrize(
    ("one", "body"),
    [
        (emoji("1F600", "grinning face"), "by code"),  # a code point wins over a name
        (emoji("2639-FE0F", "frowning face"), "by code without selector"),
        (emoji("1F34E", "red apple"), "by slug"),
        (emoji("1F1E6-1F1F9", "flag: Austria"), "austria"),
        (emoji("1F47D", "alien"), "aliased"),
        (emoji("1F600-0", "some new label", "OLD NAME"), "old"),
        (emoji("1F600-1", "two words"), "squashed"),
        (emoji("1F600-2", "a b"), None),  # two icons squash to the same letters
        (emoji("1F600-3", "gone"), None),  # hidden: no longer part of the set
        (emoji("1F600-4", "unknown"), None),
    ],
)
def test_icons_are_found_by_code_then_name(tmp_path, one, body):
    icons = {
        "smile": "by code", "frown": "by code without selector", "grinning-face": "by slug of another",
        "red-apple": "by slug", "flag-for-austria": "austria", "extraterrestrial": "aliased", "old-name": "old",
        "twowords": "squashed", "a-b-": "1", "ab": "2", "gone": {"body": "3", "hidden": True},
    }  # fmt: skip
    chars = {"1f600": "smile", "2639": "frown"}
    folder = icon_set(tmp_path, icons, chars, aliases={"alien": {"parent": "extraterrestrial"}})
    assert body_of(folder, one) == body


def test_aliases_are_followed_with_mirroring_and_frames():
    icons = {
        "prefix": "x",
        "height": 12,
        "icons": {"left": {"body": "b", "width": 20}},
        "aliases": {
            "right": {"parent": "left", "hFlip": True},
            "again": {"parent": "right", "hFlip": True, "top": 2},
            "loop": {"parent": "loop"},
        },
    }
    assert resolve_alias(icons, "right")["hFlip"] is True
    icon = resolve_alias(icons, "again")
    assert icon["hFlip"] is False
    assert [icon[key] for key in ("left", "top", "width", "height")] == [0, 2, 20, 12]
    assert 'viewBox="0 2 20 12"' in svg_document(icon)
    with pytest.raises(AmorlipError, match="cycle"):
        resolve_alias(icons, "loop")


def test_files_are_found_by_code_points(tmp_path):
    (tmp_path / "assets").mkdir()
    for name in ("1f600.webp", "2639-fe0f.webp", "1f44b-1f3fb.webp"):
        (tmp_path / "assets" / name).write_bytes(b"")
    found = file_drawings(tmp_path, "style", [emoji("1F600", "a"), emoji("2639", "b"), emoji("1F4A9", "c")])
    assert [(one.hexcode, one.file.name) for one in found] == [("1F600", "1f600.webp"), ("2639", "2639-fe0f.webp")]


def test_modifiers_and_letters_are_left_out(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "en").mkdir()
    groups = {"groups": {"0": "faces", "2": "component"}, "subgroups": {"0": "happy", "9": "skin-tone"}}
    (tmp_path / "meta" / "groups.json").write_text(json.dumps(groups))
    (tmp_path / "meta" / "unicode-names.json").write_text(json.dumps({"263a": "WHITE SMILING FACE"}))
    entries = [
        {"label": "regional indicator A", "hexcode": "1F1E6"},
        {"label": "dark skin tone", "hexcode": "1F3FF", "group": 2, "subgroup": 9, "tags": ["tone"]},
        {"label": "smiling face", "hexcode": "263A-FE0F", "group": 0, "subgroup": 0, "tags": ["smile", "happy"],
         "skins": [{"label": "smiling face: dark skin tone", "hexcode": "263A-1F3FF"}]},
    ]  # fmt: skip
    (tmp_path / "en" / "data.json").write_text(json.dumps(entries))
    expected = Emoji("263A-FE0F", "smiling face", ("smile", "happy"), "faces", "happy", "WHITE SMILING FACE")
    assert read_emoji(tmp_path) == [expected]


def test_broken_packages_are_told(tmp_path):
    with pytest.raises(AmorlipError, match="groups.json cannot be read as JSON"):
        read_emoji(tmp_path)


@pytest.mark.parametrize("hexcode", ["../../X", "1F600/..", "", "1f600", "1F600\n", None])
def test_a_code_that_is_none_does_not_become_a_path(tmp_path, hexcode):
    for folder in ("meta", "en"):
        (tmp_path / folder).mkdir()
    (tmp_path / "meta" / "groups.json").write_text(json.dumps({"groups": {"0": "a"}, "subgroups": {"0": "b"}}))
    (tmp_path / "meta" / "unicode-names.json").write_text("{}")
    entry = {"label": "a", "hexcode": hexcode, "group": 0, "subgroup": 0}
    (tmp_path / "en" / "data.json").write_text(json.dumps([entry]))
    with pytest.raises(AmorlipError, match="is not the code of an emoji"):
        read_emoji(tmp_path)


def test_slug():
    assert slug("Piñata’s “box”!") == "pinatas-box"
    assert slug("woman: red hair") == "woman-red-hair"
    assert slug("Mrs. Claus") == "mrs-claus"
