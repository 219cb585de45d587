"""Sets published as a csv file and a zip archive of images, packed once into the shards that evaluations read.

The columns tell the kind of set: `filename` and `raw` (a JSON list of captions) in Flickr30k and COCO; `cue`,
`candidates` and `associations` (lists as Python text) in WinoGAViL. Code in a set's repository is never run.
"""

from __future__ import annotations

import ast
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.files import atomic_path, write_text
from amorlip.tasks.lists import list_of_texts, read_table, single
from amorlip.tasks.read import IMAGE_SUFFIXES

IMAGES_PER_SHARD = 1000


def is_packable(folder: Path) -> bool:
    """Whether `folder` holds a table and an archive. Classification sets may have such files too and are not packed."""
    return not (folder / "classnames.txt").exists() and any(folder.glob("*.csv")) and any(folder.glob("*.zip"))


def pack(folder: Path, output: Path) -> None:
    """Write `output`/test/nshards.txt and 0.tar … from the csv file and the zip archive in `folder`.

    A sample is an image (its bytes are not changed) and `txt`: its captions, one per line, or its candidate word. Only
    images in the table are taken, in its order. Equal contents give equal shards.

    Raises AmorlipError if a file, column or image is missing, a row cannot be read, or an image is listed twice or is
    a symbolic link.
    """
    path = single(folder, "*.csv")
    rows = read_table(path, ())
    texts = _candidates(path, rows) if "candidates" in rows.columns else _captions(path, rows)
    archive_path = single(folder, "*.zip")
    members = _members(archive_path, list(texts))
    for old in (output / "test").glob("*.tar"):
        old.unlink()
    names = list(texts)
    shards = [names[start : start + IMAGES_PER_SHARD] for start in range(0, len(names), IMAGES_PER_SHARD)]
    with zipfile.ZipFile(archive_path) as archive:
        for number, part in enumerate(shards):
            write_shard(output / "test" / f"{number}.tar", _samples(archive_path, archive, part, members, texts))
    write_text(output / "test" / "nshards.txt", f"{len(shards)}\n")


def _captions(path: Path, rows: pd.DataFrame) -> dict[str, str]:
    """Stem of the image's name → its captions, one per line."""
    read_table(path, ("filename", "raw"))
    texts: dict[str, str] = {}
    for row in range(len(rows)):
        captions = list_of_texts(rows["raw"][row], json.loads, f"{path}: row {row + 1}, column raw")
        stem = PurePosixPath(rows["filename"][row]).stem
        if stem in texts:
            raise AmorlipError(f"{path}: an image is listed twice in the column filename: {rows['filename'][row]}")
        # The tokenizer reads any run of white space as one space, so line breaks within a caption can be dropped.
        texts[stem] = "".join(f"{' '.join(caption.split())}\n" for caption in captions)
    return texts


def _candidates(path: Path, rows: pd.DataFrame) -> dict[str, str]:
    """Every distinct candidate word. It is also the stem of its image's name."""
    words = (
        word
        for row in range(len(rows))
        for word in list_of_texts(
            rows["candidates"][row], ast.literal_eval, f"{path}: row {row + 1}, column candidates"
        )
    )
    return {word: f"{word}\n" for word in words}


def _members(path: Path, stems: list[str]) -> dict[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise AmorlipError(f"{path} is not a complete zip archive ({one_line(error)}); download it again") from error
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
    return {stem: members[stem][0] for stem in stems}


def _samples(
    path: Path, archive: zipfile.ZipFile, names: list[str], members: dict[str, str], texts: dict[str, str]
) -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(names):
        member = members[name]
        try:
            image = archive.read(member)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise AmorlipError(f"{path}: {member} cannot be read ({one_line(error)}); download it again") from error
        yield f"s{number:07d}{PurePosixPath(member).suffix.lower()}", image
        yield f"s{number:07d}.txt", texts[name].encode()


def write_shard(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """A tar file of these members. Equal members give equal files: times and owners are fixed.

    webdataset has a writer too, but importing it imports PyTorch, which takes longer than writing a small set.
    """
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
