from __future__ import annotations

import pytest

from amorlip.icons.captions import caption, captions


def test_captions_hold_the_name_and_differ_with_the_key():
    found = {caption("red box", "outline", ["things", "ruddy box"], f"set icon-{i}") for i in range(200)}
    assert all("red box" in text for text in found) and len(found) >= 11
    assert {"red box", "outline icon of red box", "an icon of red box, things"} <= found
    assert caption("red box", "", [], "a") == caption("red box", "", [], "a")


@pytest.mark.parametrize(("style", "tags"), [("", []), ("outline", []), ("", ["things"])])
def test_what_a_drawing_lacks_is_not_said(style, tags):
    found = {caption("red box", style, tags, str(i)) for i in range(200)}
    assert not any("{" in text or "  " in text or text.endswith((",", " ")) for text in found)
    assert any("outline" in text for text in found) == bool(style)
    assert any("things" in text for text in found) == bool(tags)


def test_captions_of_one_picture_differ():
    assert len(set(captions("red box", "outline", ["things", "ruddy box"], 5))) == 5
    assert len(captions("red box", "", [], 5)) == 5
