"""Text that others wrote, for messages, logs and counted reasons: it may move a terminal's cursor or hide its end."""

from __future__ import annotations

import unicodedata

ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control and format characters, halves of pairs (which cannot be encoded), and line breaks."""


def printable(text: str, length: int | None = None) -> str:
    """`text` with control characters written as escapes, such as \\x1b; of at most `length` characters before that.

    Line breaks and tabs become blanks.
    """
    if length is not None and len(text) > length:
        text = f"{text[:length]}…"
    if text.isprintable():
        return text
    blank = str.maketrans("\t\n\r\v\f\x85\u2028\u2029", " " * 8)
    return "".join(map(_escaped, text.translate(blank)))


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in ESCAPED:
        return character
    return character.encode("unicode_escape").decode()
