"""Make the data of config/paper-mini.yaml: `python -m tests.helpers.paper_mini FOLDER`.

FOLDER gets lists of addresses in the forms of CC3M's and CC12M's, the pictures that they name, and a miniature of each
of the 38 sets. Some addresses name no picture, as the links of such lists die.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from tests.helpers import mini_sets
from tests.helpers.set_layouts import encode

LINES = {"cc3m/train": 96, "cc3m/validation": 12, "cc12m/train": 96}
"""List → its lines. Every fourth address is dead."""
CAPTION_FIRST = "cc3m"
"""CC3M's lists have the caption in the first column, CC12M's in the second."""
HEIGHT, WIDTH = 48, 64
"""Larger than the pictures that the corpora store, so that the download resizes them."""


def write_data(folder: Path) -> None:
    """Write lists, pictures and sets into `folder`, all or nothing; if it is there, nothing is changed."""
    if folder.exists():
        print(f"{folder} is there already; delete it to make it again")
        return
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    for number, (name, lines) in enumerate(LINES.items()):
        _write_list(new / f"{name}.tsv", folder.resolve() / f"{name}.pictures", lines, seed=number)
        _write_pictures(new / f"{name}.pictures", lines, seed=number)
    for seed, (key, task) in enumerate(mini_sets.datacomp38().tasks.items()):
        # tasks with shared images all have the same ones
        mini_sets.write(key, task, new / "tasks" / key, 0 if task.shared_images else seed)
    new.replace(folder)


def _colors(lines: int, seed: int) -> list[str]:
    """The color of the thing in each line."""
    return np.random.default_rng(seed).choice(list(mini_sets.COLORS), lines).tolist()


def _write_list(path: Path, pictures: Path, lines: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, color in enumerate(_colors(lines, seed)):
        row = f"a {color} thing", (pictures / f"{number}.png").as_uri()
        rows.append(row if path.parent.name == CAPTION_FIRST else row[::-1])
    path.write_text("".join(f"{first}\t{second}\n" for first, second in rows), encoding="utf-8")


def _write_pictures(folder: Path, lines: int, seed: int) -> None:
    """A picture for three in four lines: noise in a color."""
    folder.mkdir()
    for number, pixels in enumerate(mini_sets.colored(_colors(lines, seed), seed, HEIGHT, WIDTH)):
        if number % 4 < 3:
            (folder / f"{number}.png").write_bytes(encode(pixels))


def main() -> None:
    """Make the data in the folder that the command line names."""
    write_data(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
