"""Drawings that are there twice: icon sets copy from each other, under the same or other names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SAME_PATHS, SAME_LOOK = "same paths as another", "looks like one of another set"
MOST_CELLS = 4
"""Cells of 256 in which two pictures of the same drawing may differ."""
MOST_COLOR = 4.0
"""Mean difference of their colors [of 255]. At twice of both, circles with different letters count as the same."""
BLOCK = 128


def duplicates(sets: Sequence[str], paths: Sequence[bytes], cells: np.ndarray, colors: np.ndarray) -> list[str | None]:
    """For each drawing None, or why it is a duplicate of an earlier one that is none itself.

    Args:
        sets: the set of each drawing. Pictures are compared only between sets: a set's own drawings that look alike are
            different things to its artist, such as battery levels.
        paths: fingerprint of its paths.
        cells, colors: fingerprints of its picture, (N, 32) and (N, 192) uint8.
    """
    reasons: list[str | None] = [None] * len(paths)
    seen: set[bytes] = set()
    for number, digest in enumerate(paths):
        reasons[number] = SAME_PATHS if digest in seen else None
        seen.add(digest)
    left = np.array([number for number, reason in enumerate(reasons) if reason is None], np.int64)
    codes = np.unique(np.array(sets)[left], return_inverse=True)[1] if len(left) else left
    pairs = left[_alike(codes, cells[left], colors[left])]
    for earlier, later in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))].tolist():
        if reasons[earlier] is None:
            reasons[later] = SAME_LOOK
    return reasons


def _alike(codes: np.ndarray, cells: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Pairs (earlier, later) of different sets whose pictures are alike, (P, 2).

    Two pictures that differ in k cells have numbers of dark cells that differ by at most k, so only those are compared.
    """
    # Each of four words has every fourth cell: the first alone tells most pictures apart.
    bits = np.unpackbits(cells, axis=1).reshape(-1, 64, 4).transpose(0, 2, 1)
    words = np.packbits(bits, axis=2).reshape(-1, 32).view(np.uint64)
    dark = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    order = np.argsort(dark, kind="stable")
    words, dark = np.asfortranarray(words[order]), dark[order]
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(order), BLOCK):
        block = slice(start, min(start + BLOCK, len(order)))
        end = np.searchsorted(dark, dark[block.stop - 1] + MOST_CELLS, side="right")
        first = np.bitwise_count(words[block, 0, None] ^ words[None, start:end, 0])
        one, other = np.nonzero(first <= MOST_CELLS)
        one, other = one[one < other] + start, other[one < other] + start
        differing = np.bitwise_count(words[one] ^ words[other]).sum(axis=1, dtype=np.int64)
        near = differing <= MOST_CELLS
        found.append(_of_the_same_colors(codes, colors, order[one[near]], order[other[near]]))
    return np.concatenate(found)


def _of_the_same_colors(codes: np.ndarray, colors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    apart = codes[one] != codes[other]
    one, other = one[apart], other[apart]
    difference = np.abs(colors[one].astype(np.int16) - colors[other]).mean(axis=1)
    alike = difference <= MOST_COLOR
    return np.stack([np.minimum(one, other)[alike], np.maximum(one, other)[alike]], axis=1)
