"""Checks the contents of a task's files before any training, so that evaluation does not fail after it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from amorlip.common.errors import AmorlipError
from amorlip.common.limits import read_file
from amorlip.common.printable import printable
from amorlip.config.benchmark import TaskContent, TaskKind
from amorlip.tasks.read import open_association, open_classification, open_retrieval


def check_content(folder: Path, content: TaskContent | None, *, strict: bool) -> None:
    """Check names, templates, labels, captions, rounds and sizes; images are not decoded.

    Args:
        folder: the task's files.
        content: what the benchmark expects; None: anything that fits the layout.
        strict: refuse duplicate class names, unless `content` gives the number of classes; else print a line.

    Raises:
        AmorlipError: where the files are faulty or not as expected.
    """
    content = content or TaskContent(kind=_kind(folder))
    samples, unit, place = CHECKS[content.kind](folder, content, strict)
    if content.samples is not None and samples != content.samples:
        raise AmorlipError(f"{place} has {samples} {unit}, the benchmark expects {content.samples}")


def _kind(folder: Path) -> TaskKind:
    """The kind of task that a folder's layout belongs to."""
    if (folder / "classnames.txt").exists() or (folder / "zeroshot_classification_templates.txt").exists():
        return "classification"
    tables = [read_file(path) for path in folder.glob("*.csv")]
    return "association" if any(b"candidates" in text.partition(b"\n")[0] for text in tables) else "retrieval"


def _classification(folder: Path, content: TaskContent, strict: bool) -> tuple[int, str, Path]:
    data = open_classification(folder, content)
    _check_duplicates(folder / "classnames.txt", data.names, refuse=strict and content.classes is None)
    samples = sum(1 for _ in data.records())  # raises for a label out of range
    if not samples:
        raise AmorlipError(f"{folder / 'test'}: the shards have no samples")
    return samples, "samples", folder / "test"


def _check_duplicates(path: Path, names: list[str], *, refuse: bool) -> None:
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        # The tokenizer ignores case and runs of white space, so such names get the same embedding.
        first = lines.setdefault(" ".join(name.lower().split()), number)
        if first == number:
            continue
        text = f"{path}: lines {first} and {number} have the same class name '{name}', so the second is never predicted"
        if refuse:
            raise AmorlipError(f"{text}; rename one, or merge the classes")
        # published sets have some, as ImageNet's 'missile' and 'sunglasses'
        print(f"warning: {printable(text)}", file=sys.stderr)


def _retrieval(folder: Path, content: TaskContent, strict: bool) -> tuple[int, str, Path]:
    data = open_retrieval(folder)
    return sum(1 for _ in data.images.records()), "images", folder


def _association(folder: Path, content: TaskContent, strict: bool) -> tuple[int, str, Path]:
    data = open_association(folder)
    for _ in data.images.records():  # raises for a sample without an image
        pass
    return len(data.rounds), "rounds", folder


CHECKS: dict[str, Callable[[Path, TaskContent, bool], tuple[int, str, Path]]] = {
    "classification": _classification,
    "classification_grouped": _classification,
    "retrieval": _retrieval,
    "association": _association,
}
"""Kind of task → its check; returns the number of samples, their name and where they are."""
