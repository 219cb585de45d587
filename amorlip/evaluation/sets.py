"""The on-disk layouts of evaluation sets, and what is wrong with a folder that does not follow them.

Classification: `classnames.txt`, `zeroshot_classification_templates.txt` (with the field `{c}`), `test/nshards.txt` and
`test/0.tar` …, WebDataset shards whose samples hold an image, `cls` and, in grouped sets, `npy` (an integer vector).
Retrieval and association: one csv file and one zip archive of images.
"""

from __future__ import annotations

import ast
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import webdataset as wds

from amorlip.config import Task
from amorlip.errors import AmorlipError

IMAGE_SUFFIXES = ("webp", "png", "jpg", "jpeg")


@dataclass(frozen=True)
class Record:
    """One encoded image with what belongs to it."""

    key: str
    where: str
    """File and member, for messages."""
    read: Callable[[], bytes]
    label: int = -1
    metadata: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


# ---------------------------------------------------------------- classification


@dataclass(frozen=True)
class ClassificationSet:
    """Class names, prompt templates and shards of labelled images."""

    names: list[str]
    templates: list[str]
    shards: list[Path]
    columns: int
    """Length of the samples' metadata vectors; 0: they have none."""

    def records(self) -> Iterator[Record]:
        """Every sample in the order of the shards. AmorlipError names the file and the sample that is faulty."""
        for shard in self.shards:
            for sample in _tar_samples(shard):
                yield self._record(sample, shard)

    def _record(self, sample: dict[str, Any], shard: Path) -> Record:
        key = sample["__key__"]
        where = f"{shard}: sample '{key}'"
        if key.startswith("/") or ".." in PurePosixPath(key).parts:
            raise AmorlipError(f"{where} has a path that leaves its folder; download the set again")
        images = [sample[suffix] for suffix in IMAGE_SUFFIXES if suffix in sample]
        if len(images) != 1:
            raise AmorlipError(f"{where} has {len(images)} images ({', '.join(IMAGE_SUFFIXES)}), expected one")
        label = _label(sample, len(self.names), where)
        metadata = _metadata(sample, self.columns, where) if self.columns else np.empty(0, dtype=np.int64)
        return Record(key, where, partial(bytes, images[0]), label, metadata)


def open_classification(folder: Path, task: Task) -> ClassificationSet:
    """Read names and templates and find the shards of `folder`; the images are read later, by `records`.

    Raises AmorlipError where a file is missing or disagrees with `task` or with nshards.txt.
    """
    names = _lines(folder / "classnames.txt")
    if task.classes is not None and len(names) != task.classes:
        raise AmorlipError(f"{folder / 'classnames.txt'} has {len(names)} classes, the benchmark says {task.classes}")
    path = folder / "zeroshot_classification_templates.txt"
    templates = _lines(path)
    for template in templates:
        if "{c}" not in template:
            raise AmorlipError(f"{path}: the template '{template}' lacks the field {{c}}")
    return ClassificationSet(names, templates, _shards(folder / "test"), len(task.metadata))


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise AmorlipError(f"{path} cannot be read ({_short(error)}); every classification set needs it") from error
    if "" in lines:
        raise AmorlipError(f"{path}: line {lines.index('') + 1} is empty")
    return lines


def _shards(folder: Path) -> list[Path]:
    path = folder / "nshards.txt"
    try:
        count = int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AmorlipError(f"{path} cannot be read ({_short(error)}); it holds the number of shards") from error
    shards = [folder / f"{number}.tar" for number in range(count)]
    found = sorted(folder.glob("*.tar"))
    if not shards or sorted(shards) != found:
        names = ", ".join(shard.name for shard in found[:5]) or "none"
        raise AmorlipError(
            f"{path} says {count} shards (0.tar to {count - 1}.tar), but the folder has {len(found)} ({names})"
        )
    return shards


def _tar_samples(shard: Path) -> Iterator[dict[str, Any]]:
    # A plain pipeline rather than wds.WebDataset, which draws from Python's global random numbers and refuses
    # to run on one rank of several.
    pipeline = wds.DataPipeline(wds.SimpleShardList([str(shard.absolute())]), wds.tarfile_to_samples())
    try:
        yield from pipeline
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise AmorlipError(f"{shard} is not a whole tar file ({_short(error)}); download the set again") from error


def _label(sample: dict[str, Any], classes: int, where: str) -> int:
    if "cls" not in sample:
        raise AmorlipError(f"{where} has no label (cls)")
    try:
        label = int(sample["cls"])
    except ValueError as error:
        raise AmorlipError(f"{where}: the label (cls) is not an integer") from error
    if not 0 <= label < classes:
        raise AmorlipError(f"{where}: the label {label} is not one of the {classes} classes (0 to {classes - 1})")
    return label


def _metadata(sample: dict[str, Any], columns: int, where: str) -> np.ndarray:
    if "npy" not in sample:
        raise AmorlipError(f"{where} has no metadata (npy)")
    try:
        values = np.load(io.BytesIO(sample["npy"]), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise AmorlipError(f"{where}: the metadata (npy) cannot be read ({_short(error)})") from error
    values = np.atleast_1d(values)
    if values.shape != (columns,):
        raise AmorlipError(f"{where}: the metadata (npy) has shape {values.shape}, the benchmark says ({columns},)")
    whole = values.astype(np.int64) if values.dtype.kind in "biuf" else None
    if whole is None or not np.array_equal(whole, values):
        raise AmorlipError(f"{where}: the metadata (npy) are not integers")
    return whole


# ---------------------------------------------------------------- csv and zip


@dataclass(frozen=True)
class ZipImages:
    """Some images of a zip archive, in a given order."""

    path: Path
    members: list[str]

    def records(self) -> Iterator[Record]:
        """The images in order; an image is read when its record's `read` is called."""
        archive = zipfile.ZipFile(self.path)  # not in a `with` block: closed when the last record is gone
        for member in self.members:
            yield Record(member, f"{self.path}: {member}", partial(self._read, archive, member))

    def _read(self, archive: zipfile.ZipFile, member: str) -> bytes:
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise AmorlipError(f"{self.path}: {member} cannot be read ({_short(error)}); download it again") from error


@dataclass(frozen=True)
class RetrievalSet:
    """Images and their captions."""

    images: ZipImages
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

    images: ZipImages
    names: list[str]
    """For each image, its candidate word."""
    rounds: list[Round]


def open_retrieval(folder: Path) -> RetrievalSet:
    """Read the csv (columns filename and raw, a JSON list of captions) and map its file names to the zip's members.

    Raises AmorlipError where a file, column or image is missing or a row cannot be read.
    """
    path, rows = _table(folder, ("filename", "raw"))
    captions: list[str] = []
    image_of: list[int] = []
    for row in range(len(rows)):
        texts = _texts(rows["raw"][row], json.loads, f"{path}: row {row + 1}, column raw")
        captions += texts
        image_of += [row] * len(texts)
    stems = [PurePosixPath(name).stem for name in rows["filename"]]
    if len(set(stems)) != len(stems):
        raise AmorlipError(f"{path}: an image is listed twice in the column filename")
    return RetrievalSet(_zip_images(folder, stems), captions, image_of)


def open_association(folder: Path) -> AssociationSet:
    """Read the csv (columns cue, candidates and associations; the latter two list text) and map candidates to images.

    A candidate belongs to the cue if its word is among the associations, as in DataComp's evaluation. Raises
    AmorlipError where a file, column or image is missing or a row cannot be read.
    """
    path, rows = _table(folder, ("cue", "candidates", "associations"))
    positions: dict[str, int] = {}
    rounds = []
    for row in range(len(rows)):
        where = f"{path}: row {row + 1}"
        cue = rows["cue"][row].strip()
        candidates = _texts(rows["candidates"][row], ast.literal_eval, f"{where}, column candidates")
        associations = _texts(rows["associations"][row], ast.literal_eval, f"{where}, column associations")
        associated = [candidate in associations for candidate in candidates]
        if not cue or not any(associated):
            raise AmorlipError(f"{where} has no cue, or none of its associations is a candidate")
        rounds.append(Round(cue, [positions.setdefault(name, len(positions)) for name in candidates], associated))
    names = list(positions)
    return AssociationSet(_zip_images(folder, names), names, rounds)


def _table(folder: Path, columns: tuple[str, ...]) -> tuple[Path, pd.DataFrame]:
    path = _single(folder, "*.csv")
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise AmorlipError(f"{path} cannot be read ({_short(error)})") from error
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise AmorlipError(f"{path} lacks the column {missing[0]}; it has {', '.join(rows.columns)}")
    if rows.empty:
        raise AmorlipError(f"{path} has no rows")
    return path, rows


def _single(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise AmorlipError(f"{folder} holds {len(found)} files {pattern}, expected one; download the set again")
    return found[0]


def _texts(text: str, parse: Callable[[str], Any], where: str) -> list[str]:
    try:
        values = parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise AmorlipError(f"{where} is not a list of texts: {text[:60]!r}") from error
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise AmorlipError(f"{where} is not a list of texts: {text[:60]!r}")
    return values


def _zip_images(folder: Path, stems: list[str]) -> ZipImages:
    path = _single(folder, "*.zip")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise AmorlipError(f"{path} is not a whole zip archive ({_short(error)}); download it again") from error
    members: dict[str, list[str]] = {}
    for entry in entries:
        name = PurePosixPath(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise AmorlipError(f"{path}: {entry.filename} is a symbolic link; download the archive again")
        if name.suffix.lower().lstrip(".") in IMAGE_SUFFIXES:
            members.setdefault(name.stem, []).append(entry.filename)
    for stem in stems:
        if len(members.get(stem, [])) != 1:
            raise AmorlipError(f"{path} has {len(members.get(stem, []))} images named '{stem}', expected one")
    return ZipImages(path, [members[stem][0] for stem in stems])


def _short(error: BaseException) -> str:
    """The first line of an exception's text, or its type."""
    text = str(error.args[0]) if error.args and not isinstance(error, OSError) else str(error)
    return text.split("\n")[0][:120] or type(error).__name__
