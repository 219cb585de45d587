"""Evaluation sets written in the layouts of the published ones, so that one evaluator reads both.

Equal contents give equal files: times, owners and orders are fixed.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amorlip.common.files import atomic_path, write_text
from amorlip.tasks.pack import write_shard


@dataclass(frozen=True)
class Labeled:
    """An encoded image of a classification set."""

    image: bytes
    ending: str
    """png or webp."""
    label: int
    """Position of its class in the class names."""
    metadata: tuple[int, ...] = ()
    """Grouped sets only: the values of the columns."""


@dataclass(frozen=True)
class Round:
    """One game of association."""

    cue: str
    candidates: Sequence[str]
    associations: Sequence[str]


def write_classification(
    folder: Path, names: Sequence[str], templates: Sequence[str], samples: Iterable[Labeled]
) -> None:
    """classnames.txt, zeroshot_classification_templates.txt, test/nshards.txt and test/0.tar (image, cls, npy)."""
    write_text(folder / "classnames.txt", "\n".join(names) + "\n")
    write_text(folder / "zeroshot_classification_templates.txt", "\n".join(templates) + "\n")
    write_text(folder / "test" / "nshards.txt", "1\n")
    write_shard(folder / "test" / "0.tar", _members(samples))


def _members(samples: Iterable[Labeled]) -> Iterator[tuple[str, bytes]]:
    for number, sample in enumerate(samples):
        members = {sample.ending: sample.image, "cls": str(sample.label).encode()}
        if sample.metadata:
            members["npy"] = _npy(sample.metadata)
        yield from ((f"s{number:07d}.{ending}", members[ending]) for ending in sorted(members))


def write_retrieval(
    folder: Path, name: str, images: Mapping[str, bytes], captions: Mapping[str, Sequence[str]]
) -> None:
    """test_`name`.csv (filename, raw = JSON list of captions) and images_`name`_test.zip, keys are file names."""
    rows = [{"filename": filename, "raw": json.dumps(captions[filename], ensure_ascii=False)} for filename in images]
    _write_csv(folder / f"test_{name}.csv", rows)
    _write_zip(folder / f"images_{name}_test.zip", f"images_{name}_test", images)


def write_association(folder: Path, rounds: Iterable[Round], images: Mapping[str, bytes]) -> None:
    """winogavil_dataset.csv (lists as Python text) and winogavil_images.zip with `candidate`.jpg; keys: candidates."""
    rows = [
        {
            "candidates": str(list(play.candidates)),
            "cue": play.cue,
            "associations": str(list(play.associations)),
            "num_associations": len(play.associations),
            "num_candidates": len(play.candidates),
        }
        for play in rounds
    ]
    _write_csv(folder / "winogavil_dataset.csv", rows)
    named = {f"{candidate}.jpg": data for candidate, data in images.items()}
    _write_zip(folder / "winogavil_images.zip", "winogavil_images", named)


def _npy(values: Sequence[int]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, dtype=np.int64))
    return file.getvalue()


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _write_zip(path: Path, inner: str, files: Mapping[str, bytes]) -> None:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{inner}/{name}"), data)
