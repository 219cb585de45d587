"""Choices that depend on names only, so that they are the same on every machine and in every process."""

from __future__ import annotations

import hashlib


def stable_int(*parts: object) -> int:
    """64-bit integer that depends on the text of `parts` only."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def unit(*parts: object) -> float:
    """Number in [0, 1) that depends on the text of `parts` only: `unit(…) < f` holds for a fraction f of the keys."""
    return (stable_int(*parts) >> 11) / 2**53
