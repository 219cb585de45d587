from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from amorlip.icons import fingerprints
from amorlip.icons.duplicates import MOST_CELLS, SAME_LOOK, SAME_PATHS, duplicates

PATH = '<svg viewBox="0 0 24 24"><path fill="currentColor" d="M1.5 2h4v4h-4z"/></svg>'


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (PATH.replace("M1.5 2h", "M1.501,2 h"), True),
        (PATH.replace("currentColor", "#000"), True),
        (PATH.replace("<path", '<path id="a" class="b"'), True),
        (PATH.replace("1.5", "1.6"), False),
        (PATH.replace("currentColor", "#f00"), False),
        (PATH.replace("v4", "V4"), False),
    ],
)
def test_paths_are_compared_whatever_their_spelling(other, same):
    assert (fingerprints.of_paths(PATH) == fingerprints.of_paths(other)) == same


def test_pictures_differ_in_cells_or_colors():
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[16:48, 16:48] = 0
    cells, colors = fingerprints.of_picture(Image.fromarray(pixels))
    assert np.unpackbits(np.frombuffer(cells, np.uint8)).sum() == 64 and len(colors) == 192
    red = np.where(pixels == 0, np.array([200, 0, 0], np.uint8), pixels)
    assert fingerprints.of_picture(Image.fromarray(red))[0] == cells
    assert fingerprints.of_picture(Image.fromarray(red))[1] != colors


def drawings(count: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Different drawings: paths, cells, colors."""
    random = np.random.default_rng(0)
    cells = random.integers(0, 256, (count, 32), dtype=np.uint8)
    return [bytes([n]) for n in range(count)], cells, random.integers(0, 256, (count, 192), dtype=np.uint8)


def flipped(cells: np.ndarray, count: int) -> np.ndarray:
    """The cells, with the first `count` of them changed."""
    bits = np.unpackbits(cells)
    bits[:count] ^= 1
    return np.packbits(bits)


def test_a_copy_in_another_set_is_left_out():
    paths, cells, colors = drawings(6)
    sets = ["a", "a", "a", "b", "b", "a"]
    paths[4] = paths[0]
    for later, earlier, change in ((3, 1, MOST_CELLS), (5, 2, 0)):
        cells[later], colors[later] = flipped(cells[earlier], change), colors[earlier]
    # 5 looks like 2, but both are of one set
    assert duplicates(sets, paths, cells, colors) == [None, None, None, SAME_LOOK, SAME_PATHS, None]


def test_what_differs_more_is_kept():
    paths, cells, colors = drawings(4)
    cells[2], colors[2] = flipped(cells[0], MOST_CELLS + 1), colors[0]
    cells[3] = cells[1]  # of other colors
    assert duplicates(["a", "a", "b", "b"], paths, cells, colors) == [None] * 4


def test_a_duplicate_of_a_duplicate_is_compared_with_what_is_kept():
    paths, cells, colors = drawings(3)
    cells[:], colors[:] = cells[0], colors[0]
    cells[1], cells[2] = flipped(cells[0], 3), flipped(cells[0], 6)  # 2 is near 1, but not near 0
    assert duplicates(["a", "b", "c"], paths, cells, colors) == [None, SAME_LOOK, None]


def test_every_pair_that_is_alike_is_found():
    random = np.random.default_rng(1)
    base = random.integers(0, 256, (40, 32), dtype=np.uint8)
    cells = np.concatenate([base, np.stack([flipped(row, n % 8) for n, row in enumerate(base)])])[
        random.permutation(80)
    ]
    colors = np.zeros((80, 192), np.uint8)
    sets, paths = [str(n % 3) for n in range(80)], [bytes([n]) for n in range(80)]
    expected: list[str | None] = []
    for j in range(80):
        near = [
            i for i in range(j)
            if sets[i] != sets[j] and expected[i] is None and np.unpackbits(cells[i] ^ cells[j]).sum() <= MOST_CELLS
        ]  # fmt: skip
        expected.append(SAME_LOOK if near else None)
    assert duplicates(sets, paths, cells, colors) == expected and SAME_LOOK in expected


def test_no_drawings():
    assert duplicates([], [], np.empty((0, 32), np.uint8), np.empty((0, 192), np.uint8)) == []
