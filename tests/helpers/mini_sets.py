"""A miniature of each set of config/benchmarks/datacomp38.yaml, in the layout of its repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from amorlip.config.benchmark import Benchmark, Task
from amorlip.config.load import read_yaml, validate
from tests.helpers import REPOSITORY
from tests.helpers import set_layouts as layouts

SAMPLES, MOST_CLASSES = 12, 6
NAMES = {"mscoco_2014_5k_test_image_text_retrieval": ("mscoco_2014_5k", "5k_mscoco_2014")}
"""Retrieval task → how its repository's files are named, if not as Flickr30k's."""


def datacomp38() -> Benchmark:
    """The benchmark, with the sizes of the real sets."""
    path = REPOSITORY / "config" / "benchmarks" / "datacomp38.yaml"
    return validate(Benchmark, read_yaml(path), str(path))


def classes(task: Task) -> int | None:
    """How many classes the miniature of a task has: as many as the task, if they are few."""
    return task.classes and min(task.classes, MOST_CLASSES)


def write(key: str, task: Task, folder: Path, seed: int = 0) -> None:
    """Write the miniature of a task with pictures of noise, which differ from those of another `seed`."""
    folder.mkdir(parents=True)
    WRITERS[task.kind](key, task, folder, seed)


def _classification(key: str, task: Task, folder: Path, seed: int) -> None:
    number = classes(task) or MOST_CLASSES
    metadata = [[(n * 7 + column) % 3 for column in range(len(task.metadata))] for n in range(SAMPLES)]
    layouts.classification(
        folder, layouts.pictures(SAMPLES, seed), [n % number for n in range(SAMPLES)],
        [f"kind {n}" for n in range(number)], ["a {c}", "{c}"], metadata=metadata if task.metadata else None, shards=2,
        kind="webp",
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
