"""The header X-Robots-Tag in the forms that its documentations show."""

from __future__ import annotations

from http.client import HTTPMessage

import pytest

from amorlip.corpus.robots import DIRECTIVES, is_disallowed


def headers(*values: str) -> HTTPMessage:
    message = HTTPMessage()
    for value in values:
        message["X-Robots-Tag"] = value
    return message


@pytest.mark.parametrize(
    "values",
    [
        *((directive,) for directive in DIRECTIVES),
        ("NoAI",),
        ("noai, noimageai",),
        ("nofollow", "noindex"),
        ("max-image-preview:none, noai",),
        ("noindex, nofollow, max-image-preview:large, max-snippet:-1",),
        ("unavailable_after: Wednesday, 25 Jun 2025 15:00:00 PST, noindex",),
        ("*: noai",),
        ("otherbot: nofollow, *: noimageai",),
        ("mine: noindex",),
        ("otherbot: noindex, mine: nofollow, noai",),
    ],
    ids=str,
)
def test_disallowed(values):
    assert is_disallowed(headers(*values), "mine", DIRECTIVES)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("all",),
        ("nofollow, noarchive",),
        ("max-image-preview: none",),
        ("otherbot: noindex",),
        ("otherbot: nofollow, noindex",),
        ("mine: nofollow, otherbot: noai",),
        ("unavailable_after: 25 Jun 2025 15:00:00 PST",),
    ],
    ids=str,
)
def test_allowed(values):
    assert not is_disallowed(headers(*values), "mine", DIRECTIVES)
