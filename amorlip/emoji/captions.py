"""Captions from human-written names and tags, in several phrasings chosen by a hash."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amorlip.common.stable_hash import stable_int

# Names serve the naming tasks, tags the association task; one caption in six holds no name, so that a tag alone
# means something to the text encoder. {a}, {b}, {c}: the first tags in the caption's own order.
PHRASES = (
    "{name}",
    "{name}",
    "an emoji of {name}",
    "a drawing of {name}",
    "a picture of {name}",
    "{name}, {a}",
    "{name}, {a}, {b}",
    "{name} ({a}, {b})",
    "an emoji of {name}, {a}",
    "{a}, {b}, {c}: {name}",
    "{a}, {b}, {c}",
    "{article} {a}",
)
TEMPLATES = ("{c}", "an emoji of {c}", "a drawing of {c}", "a picture of {c}")
"""Zero-shot templates in the same words; `{c}` is the class's name."""


def caption(name: str, tags: Sequence[str], key: str) -> str:
    """One caption, chosen by `key` among the phrasings for which there are enough tags."""
    phrases = _possible(tags)
    return _fill(phrases[stable_int("phrase", key) % len(phrases)], name, tags, key)


def captions(name: str, tags: Sequence[str], count: int) -> list[str]:
    """`count` captions that all hold the name, as different as the tags allow."""
    phrases = [phrase for phrase in dict.fromkeys(_possible(tags)) if "{name}" in phrase]
    order = sorted(phrases, key=lambda phrase: stable_int("retrieval", name, phrase))
    return [_fill(order[i % len(order)], name, tags, f"{name} {i}") for i in range(count)]


def _possible(tags: Sequence[str]) -> list[str]:
    return [phrase for phrase in PHRASES if len(re.findall(r"{[abc]}", phrase)) <= len(set(tags))]


def _fill(phrase: str, name: str, tags: Sequence[str], key: str) -> str:
    order = sorted(set(tags), key=lambda tag: stable_int("tag", key, tag))
    words = dict(zip("abc", order, strict=False))
    article = "an" if words.get("a", name)[0].lower() in "aeiou" else "a"
    return phrase.format(name=name, article=article, **words)
