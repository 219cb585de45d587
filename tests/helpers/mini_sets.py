"""A miniature of each set of config/benchmarks/datacomp38.yaml, in the layout of its repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from amorlip.config.benchmark import Benchmark, Task
from amorlip.config.load import read_yaml, validate
from tests.helpers import REPOSITORY
from tests.helpers import set_layouts as layouts

SAMPLES = 12
COLORS = {
    "red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "yellow": (200, 200, 30),
    "purple": (200, 30, 200), "gray": (120, 120, 120),
}  # fmt: skip
"""Classes of the miniatures, as level of red, green and blue."""
NAMES = {"mscoco_2014_5k_test_image_text_retrieval": ("mscoco_2014_5k", "5k_mscoco_2014")}
"""Retrieval task → how its repository's files are named, if not as Flickr30k's."""


def datacomp38() -> Benchmark:
    """The benchmark, with the sizes of the real sets."""
    path = REPOSITORY / "config" / "benchmarks" / "datacomp38.yaml"
    return validate(Benchmark, read_yaml(path), str(path))


def classes(task: Task) -> int | None:
    """How many classes the miniature of a task has: as many as the task, if they are few."""
    return task.classes and min(task.classes, len(COLORS))


def colored(names: list[str], seed: int, height: int = layouts.SIDE, width: int = layouts.SIDE) -> np.ndarray:
    """Noise around a color of `COLORS` for each name, (names, height, width, 3) uint8."""
    colors = np.array([COLORS[name] for name in names]).reshape(-1, 1, 1, 3)
    noise = np.random.default_rng(seed).normal(0, 40, (len(names), height, width, 3))
    return (colors + noise).clip(0, 255).astype(np.uint8)


def write(key: str, task: Task, folder: Path, seed: int = 0) -> None:
    """Write the miniature of a task with pictures of noise, which differ from those of another `seed`.

    Noise on the color that is the class, so that tasks and models have different scores.
    """
    folder.mkdir(parents=True)
    WRITERS[task.kind](key, task, folder, seed)


def _classification(key: str, task: Task, folder: Path, seed: int) -> None:
    names = list(COLORS)[: classes(task)]
    labels = [n % len(names) for n in range(SAMPLES)]
    metadata = [[(n * 7 + column) % 3 for column in range(len(task.metadata))] for n in range(SAMPLES)]
    layouts.classification(
        folder, colored([names[label] for label in labels], seed), labels, names, ["a {c} thing", "{c}"],
        metadata=metadata if task.metadata else None, shards=2, kind="webp",
    )  # fmt: skip


def _retrieval(key: str, task: Task, folder: Path, seed: int) -> None:
    captions = [[f"{n} {k}" for k in range(5)] for n in range(SAMPLES)]
    layouts.retrieval_archive(folder, layouts.pictures(SAMPLES, seed), captions, *NAMES.get(key, ()))


def _association(key: str, task: Task, folder: Path, seed: int) -> None:
    words = [f"word{n}" for n in range(15)]
    rounds = [
        (f"cue {n}", words[n % 3 : n % 3 + (5, 6, 10, 12)[n % 4]], words[n % 3 : n % 3 + 2]) for n in range(SAMPLES)
    ]
    layouts.association_archive(folder, dict(zip(words, layouts.pictures(15, seed), strict=True)), rounds)


WRITERS: dict[str, Callable[[str, Task, Path, int], None]] = {
    "classification": _classification,
    "classification_grouped": _classification,
    "retrieval": _retrieval,
    "association": _association,
}
"""Kind of task → what writes its miniature."""
