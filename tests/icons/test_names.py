from __future__ import annotations

import pytest

from amorlip.icons.names import Name, base_of, split_name

SUFFIXES = ("", "outline", "20-regular", "4x3", "outline-bold")


@pytest.mark.parametrize(
    ("icon", "thing", "style"),
    [
        ("arrow-left", "arrow left", ""),
        ("arrow-left-outline", "arrow left", "outline"),
        ("map-outline-bold", "map", "outline bold"),  # the longest affix
        ("clock-20-regular", "clock", "regular"),
        ("de-4x3", "de", ""),
        ("baseline-home", "home", "baseline"),
        ("heart-filled", "heart", "filled"),  # not declared
        ("traffic-light", "traffic light", ""),
        ("outline", "outline", ""),
        ("user-2", "user 2", ""),
        ("7", "", ""),
        ("a-1", "", ""),
    ],
)
def test_names(icon, thing, style):
    assert split_name(icon, ("baseline",), SUFFIXES) == Name(thing, style)


@pytest.mark.parametrize(
    ("thing", "base"), [("user 2", "user"), ("user", "user"), ("user 2 3", "user"), ("h264", "h264")]
)
def test_numbers_at_the_end_do_not_make_another_name(thing, base):
    assert base_of(thing) == base
