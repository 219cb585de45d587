"""The layouts of evaluation sets on disk, read and checked.

All have WebDataset shards `test/0.tar` …, whose number is in `test/nshards.txt`. A sample is an image and

- classification: `cls`, the number of its class, and in grouped sets `npy`, a vector of integers. Next to `test/` are
  `classnames.txt` and `zeroshot_classification_templates.txt` (each line with the field `{c}`);
- retrieval: `txt`, one caption per line;
- association: `txt`, the candidate word. Next to `test/` is one csv file with the rounds.

The layout is that of clip_benchmark's `wds` sets, as in DataComp's repositories on Hugging Face.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from amorlip.common.errors import AmorlipError, one_line, shortened
from amorlip.common.limits import MOST_TEXT_BYTES, read_file
from amorlip.common.tars import Sample, samples
from amorlip.config.benchmark import TaskContent
from amorlip.tasks.lists import list_of_texts, read_table, single

IMAGE_SUFFIXES = ("webp", "png", "jpg", "jpeg")
ENDINGS = {*IMAGE_SUFFIXES, "cls", "npy", "txt"}
"""A sample with none of these, such as README.md, is skipped."""


@dataclass(frozen=True)
class LabeledImage:
    """One encoded image with its label and metadata."""

    key: str
    where: str
    """Shard and sample, for messages."""
    read: Callable[[], bytes]
    label: int = -1
    metadata: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


# ---------------------------------------------------------------- classification


@dataclass(frozen=True)
class ClassificationSet:
    """Class names, prompt templates and shards of labeled images."""

    names: list[str]
    templates: list[str]
    shards: list[Path]
    columns: int
    """Length of the samples' metadata vectors; 0: none."""

    def records(self) -> Iterator[LabeledImage]:
        """Every sample in the order of the shards. Raises AmorlipError for a faulty sample."""
        for sample in _samples(self.shards):
            image, label = _image(sample), _label(sample, len(self.names))
            metadata = _metadata(sample, self.columns) if self.columns else np.empty(0, dtype=np.int64)
            yield LabeledImage(sample.key, sample.where, image, label, metadata)


def open_classification(folder: Path, task: TaskContent) -> ClassificationSet:
    """Read the names and templates in `folder` and find its shards; `records` reads the images later.

    Raises AmorlipError if a file is missing or disagrees with `task` or with nshards.txt.
    """
    # One published set has a class without a name (CLEVR's distances: very nearby, nearby, near, "", …), and
    # clip_benchmark scores it; with the key `classes`, such a line is accepted.
    names = _lines(folder / "classnames.txt", blank=task.classes)
    if task.classes is not None and len(names) != task.classes:
        raise AmorlipError(
            f"{folder / 'classnames.txt'} has {len(names)} classes, the benchmark expects {task.classes}"
        )
    path = folder / "zeroshot_classification_templates.txt"
    templates = _lines(path)
    for template in templates:
        if "{c}" not in template:
            raise AmorlipError(f"{path}: the template '{shortened(template)}' lacks the field {{c}}")
    return ClassificationSet(names, templates, _shards(folder / "test"), len(task.metadata))


def _lines(path: Path, blank: int | None = None) -> list[str]:
    """The lines of a text file. An empty one is refused, unless there are exactly `blank` lines."""
    try:
        # utf-8-sig: Windows editors put a byte order mark in front, which would be part of the first name
        lines = [line.strip() for line in read_file(path).decode("utf-8-sig").rstrip().split("\n")]
    except FileNotFoundError as error:
        raise AmorlipError(f"{path} is missing; every classification set needs it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AmorlipError(f"{path} cannot be read ({one_line(error)}); every classification set needs it") from error
    if lines == [""]:
        raise AmorlipError(f"{path} is empty; it needs one entry per line")
    if "" in lines and len(lines) != blank:
        raise AmorlipError(
            f"{path}: line {lines.index('') + 1} is empty; write the missing text (if a class really has no name, give"
            " the number of classes in the benchmark, key classes)"
        )
    return lines


def _shards(folder: Path) -> list[Path]:
    path = folder / "nshards.txt"
    try:
        count = int(read_file(path, MOST_TEXT_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AmorlipError(f"{path} cannot be read ({one_line(error)}); it holds the number of shards") from error
    found = sorted(folder.glob("*.tar"))
    # The numbers are compared first: a list of a billion paths would fill the memory.
    shards = [folder / f"{number}.tar" for number in range(count if count == len(found) else 0)]
    if not shards or sorted(shards) != found:
        names = ", ".join(shard.name for shard in found[:5]) or "none"
        raise AmorlipError(
            f"{path} gives {count} shards (0.tar to {count - 1}.tar), but the folder has {len(found)} ({names})"
        )
    return shards


def _samples(shards: list[Path]) -> Iterator[Sample]:
    for shard in shards:
        previous = ""
        for sample in samples(shard):
            if sample.key == previous:
                raise AmorlipError(f"{sample.where} has a duplicate file; make or download the set again")
            previous = sample.key
            if not sample.members.keys() & ENDINGS:
                continue
            if sample.key.startswith("/") or ".." in PurePosixPath(sample.key).parts:
                raise AmorlipError(f"{sample.where} has a path that leaves its folder; download the set again")
            yield sample


def _image(sample: Sample) -> Callable[[], bytes]:
    images = [suffix for suffix in IMAGE_SUFFIXES if suffix in sample.members]
    if len(images) != 1:
        raise AmorlipError(f"{sample.where} has {len(images)} images ({', '.join(IMAGE_SUFFIXES)}), expected one")
    return partial(sample.read, images[0])


def _label(sample: Sample, classes: int) -> int:
    if "cls" not in sample.members:
        raise AmorlipError(f"{sample.where} has no label (cls)")
    try:
        label = int(sample.read("cls", MOST_TEXT_BYTES))
    except ValueError as error:
        raise AmorlipError(f"{sample.where}: the label (cls) is not an integer") from error
    if not 0 <= label < classes:
        known = f"one of the {classes} classes (0 to {classes - 1})"
        raise AmorlipError(f"{sample.where}: the label {shortened(label)} is not {known}")
    return label


def _metadata(sample: Sample, columns: int) -> np.ndarray:
    if "npy" not in sample.members:
        raise AmorlipError(f"{sample.where} has no metadata (npy)")
    where = f"{sample.where}: the metadata (npy)"
    try:
        values = np.load(io.BytesIO(sample.read("npy", MOST_TEXT_BYTES)), allow_pickle=False)
    except Exception as error:  # NumPy reads the header as Python's text, and huge shapes are a MemoryError
        raise AmorlipError(f"{where} cannot be read ({one_line(error)})") from error
    values = np.atleast_1d(values)
    if values.shape != (columns,):
        raise AmorlipError(f"{where} has shape {values.shape}, the benchmark expects ({columns},)")
    whole = values.astype(np.int64) if values.dtype.kind in "biuf" else None
    if whole is None or not np.array_equal(whole, values):
        raise AmorlipError(f"{where} are not integers")
    return whole


# ---------------------------------------------------------------- retrieval and association


@dataclass(frozen=True)
class TextImages:
    """Shards of images that each have a text."""

    shards: list[Path]

    def records(self) -> Iterator[LabeledImage]:
        """Every image in the order of the shards."""
        for sample in _samples(self.shards):
            yield LabeledImage(sample.key, sample.where, _image(sample))

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Key, text and place (for messages) of every image; the images are not read."""
        for sample in _samples(self.shards):
            if "txt" not in sample.members:
                raise AmorlipError(f"{sample.where} has no text (txt)")
            try:
                yield sample.key, sample.read("txt", MOST_TEXT_BYTES).decode("utf-8"), sample.where
            except UnicodeDecodeError as error:
                raise AmorlipError(f"{sample.where}: the text (txt) is not UTF-8") from error


@dataclass(frozen=True)
class RetrievalSet:
    """Images and their captions."""

    images: TextImages
    keys: list[str]
    """Keys of the images, in order."""
    captions: list[str]
    image_of: list[int]
    """For each caption, the position of its image."""


@dataclass(frozen=True)
class Round:
    """One game of association: which of the candidate images belong to the cue?"""

    cue: str
    candidates: list[int]
    """Positions in the set's images."""
    associated: list[bool]
    """For each candidate, whether it belongs to the cue; at least one does."""


@dataclass(frozen=True)
class AssociationSet:
    """Distinct candidate images and the rounds played with them."""

    images: TextImages
    names: list[str]
    """For each image, its candidate word."""
    rounds: list[Round]


def open_retrieval(folder: Path) -> RetrievalSet:
    """Read the captions of all images. Raises AmorlipError if a shard is faulty or an image has no caption."""
    images = TextImages(_shards(folder / "test"))
    keys: list[str] = []
    captions: list[str] = []
    image_of: list[int] = []
    for position, (key, text, where) in enumerate(images.texts()):
        texts = [line.strip() for line in text.splitlines() if line.strip()]
        if not texts:
            raise AmorlipError(f"{where}: the text (txt) holds no caption")
        keys.append(key)
        captions += texts
        image_of += [position] * len(texts)
    if not keys:
        raise AmorlipError(f"{folder / 'test'}: the shards hold no samples; download the set again")
    return RetrievalSet(images, keys, captions, image_of)


def open_association(folder: Path) -> AssociationSet:
    """Read the candidate words, and the rounds of the csv file (cue, candidates, associations; the latter two lists).

    A candidate belongs to the cue if its word is among the associations, as in DataComp's evaluation. Raises
    AmorlipError if a file, column or image is missing or a row cannot be read.
    """
    images = TextImages(_shards(folder / "test"))
    names = [text.removesuffix("\n") for _, text, _ in images.texts()]
    positions = {name: position for position, name in enumerate(names)}
    path = single(folder, "*.csv")
    rows = read_table(path, ("cue", "candidates", "associations"))
    rounds = []
    for row in range(len(rows)):
        where = f"{path}: row {row + 1}"
        cue = rows["cue"][row].strip()
        candidates = list_of_texts(rows["candidates"][row], ast.literal_eval, f"{where}, column candidates")
        associations = list_of_texts(rows["associations"][row], ast.literal_eval, f"{where}, column associations")
        associated = [candidate in associations for candidate in candidates]
        if not cue or not any(associated):
            raise AmorlipError(f"{where} has no cue, or none of its associations is a candidate")
        for candidate in candidates:
            if candidate not in positions:
                raise AmorlipError(f"{where}: the candidate '{shortened(candidate)}' has no image in {folder / 'test'}")
        rounds.append(Round(cue, [positions[candidate] for candidate in candidates], associated))
    return AssociationSet(images, names, rounds)
