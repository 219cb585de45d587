"""From an icon's name to words: `arrow-left-outline` is a drawing of "arrow left" in the style "outline"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

ICON = r"[a-z0-9]+(-[a-z0-9]+)*"
"""A name of an icon. It becomes part of a path."""
STYLES = {
    "outline", "outlined", "filled", "fill", "solid", "duotone", "twotone", "rounded", "sharp", "monochrome", "colored",
}  # fmt: skip
"""Words for a style wherever they end or begin a name. Others ("light", "line", "bold") also name things, and count
only where the set declares them."""
SIZES = r"(\d+px|\d+x\d+|\d+)?"
"""In a declared affix: a size or a shape of the frame, not a word for the style."""


class Name(NamedTuple):
    """An icon's name in parts."""

    thing: str
    """What is drawn, as words; empty if the name has no words."""
    style: str
    """How it is drawn, as words; often empty."""


def split_name(icon: str, prefixes: Iterable[str], suffixes: Iterable[str]) -> Name:
    """The parts of an icon's name, with the affixes that its set declares."""
    prefix = _longest(prefix for prefix in prefixes if prefix and icon.startswith(f"{prefix}-"))
    rest = icon.removeprefix(f"{prefix}-")
    suffix = _longest(suffix for suffix in suffixes if suffix and rest.endswith(f"-{suffix}"))
    rest = rest.removesuffix(f"-{suffix}")
    words, style = rest.split("-"), [*prefix.split("-"), *suffix.split("-")]
    while len(words) > 1 and words[-1] in STYLES:
        style.append(words.pop())
    while len(words) > 1 and words[0] in STYLES:
        style.append(words.pop(0))
    thing = " ".join(words)
    if not any(re.search("[a-z]{2}", word) for word in words):
        return Name("", "")
    known = [word for word in dict.fromkeys(style) if not re.fullmatch(SIZES, word)]
    return Name(thing, " ".join(known))


def base_of(thing: str) -> str:
    """A thing without the number at its end: `user-2` is another drawing of "user". Names are held out by it."""
    return re.sub(r"( \d+)+$", "", thing)


def _longest(affixes: Iterable[str]) -> str:
    return max(affixes, key=len, default="")
