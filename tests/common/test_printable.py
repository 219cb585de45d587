from __future__ import annotations

import pytest

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 猫 😀 a\u00a0b", "größe 猫 😀 a\u00a0b"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\tb\nc\u2028d\x85e", "a b c d e"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("\x9b2J\x7f\0", "\\x9b2J\\x7f\\x00"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_moves_a_cursor_is_escaped(text, shown):
    assert printable(text) == shown
    printable(text).encode()


def test_length():
    assert printable("\x1b" * 5, 2) == "\\x1b\\x1b…" and printable("abc", 3) == "abc"


def test_errors_hold_no_control_characters():
    assert str(AmorlipError("a\nb\x1b[2J")) == "a b\\x1b[2J"
    assert one_line(ValueError("a\nb\x1b[2J")) == "a b\\x1b[2J"
