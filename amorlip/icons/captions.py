"""Captions of icons from their names, styles and tags, in several phrasings chosen by a hash."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amorlip.common.stable_hash import stable_int

# {a}, {b}: the first tags in the caption's own order. "a drawing of" and "a picture of" also occur in the templates of
# the demo's tasks.
PHRASES = (
    "{name}",
    "{name}",
    "{name} icon",
    "an icon of {name}",
    "a drawing of {name}",
    "a picture of {name}",
    "{name}, {style}",
    "{style} icon of {name}",
    "{name}, {a}",
    "{name} ({a}, {b})",
    "an icon of {name}, {a}",
)
TEMPLATES = ("{c}", "{c} icon", "an icon of {c}", "a drawing of {c}", "a picture of {c}")
"""Zero-shot templates in the same words; `{c}` is the class's name."""


def caption(name: str, style: str, tags: Sequence[str], key: str) -> str:
    """One caption, chosen by `key` among the phrasings for which there are a style and enough tags."""
    possible = _possible(style, tags)
    return _fill(possible[stable_int("phrase", key) % len(possible)], name, style, tags, key)


def captions(name: str, style: str, tags: Sequence[str], count: int) -> list[str]:
    """`count` captions, as different as the style and the tags allow."""
    phrases = [*dict.fromkeys(_possible(style, tags))]
    order = sorted(phrases, key=lambda phrase: stable_int("retrieval", name, phrase))
    return [_fill(order[i % len(order)], name, style, tags, f"{name} {i}") for i in range(count)]


def _possible(style: str, tags: Sequence[str]) -> list[str]:
    enough = [phrase for phrase in PHRASES if len(re.findall(r"{[ab]}", phrase)) <= len(set(tags))]
    return [phrase for phrase in enough if style or "{style}" not in phrase]


def _fill(phrase: str, name: str, style: str, tags: Sequence[str], key: str) -> str:
    order = sorted(set(tags), key=lambda tag: stable_int("tag", key, tag))
    return phrase.format(name=name, style=style, **dict(zip("ab", order, strict=False)))
