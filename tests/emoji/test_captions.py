from __future__ import annotations

import string
from collections import Counter

from amorlip.emoji.captions import PHRASES, TEMPLATES, caption, captions

TAGS = ["fruit", "red", "apple pie"]


def test_a_caption_depends_on_its_key_only():
    assert caption("red apple", TAGS, "noto 1F34E") == caption("red apple", TAGS, "noto 1F34E")
    assert caption("red apple", TAGS, "k") == caption("red apple", TAGS[::-1], "k")
    assert len({caption("red apple", TAGS, str(i)) for i in range(60)}) > 15


def test_all_phrasings_occur_and_no_field_is_left():
    texts = Counter(caption("red apple", TAGS, str(i)) for i in range(3000))
    assert not any("{" in text or "}" in text for text in texts)
    share = sum(n for text, n in texts.items() if "red apple" not in text) / 3000
    assert abs(share - 2 / 12) < 0.03  # two of the twelve phrasings hold no name
    assert {"a fruit", "a red", "an apple pie"} <= set(texts)


def test_phrasings_that_need_more_tags_are_left_out():
    assert {caption("cat", [], str(i)) for i in range(300)} == {
        "cat", "an emoji of cat", "a drawing of cat", "a picture of cat"
    }  # fmt: skip
    assert all(text.count("pet") <= 1 for text in (caption("cat", ["pet"], str(i)) for i in range(300)))


def test_retrieval_captions_differ_and_hold_the_name():
    texts = captions("red apple", TAGS, 5)
    assert len(set(texts)) == 5 and all("red apple" in text for text in texts)
    assert len(captions("cat", [], 5)) == 5


def test_fields():
    fields = {name for phrase in PHRASES for _, name, _, _ in string.Formatter().parse(phrase) if name}
    assert fields == {"name", "article", "a", "b", "c"}
    assert all("{c}" in template for template in TEMPLATES)
