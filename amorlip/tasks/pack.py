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
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pandas as pd

from amorlip.common.errors import AmorlipError, one_line, shortened
from amorlip.common.files import atomic_path, write_text
from amorlip.common.limits import MOST_IMAGE_BYTES
from amorlip.tasks.lists import list_of_texts, read_table, single
from amorlip.tasks.read import IMAGE_SUFFIXES

IMAGES_PER_SHARD = 1000
MOST_DIRECTORY_BYTES = 1 << 24
"""Of an archive's list of members: some 150,000 of them; COCO has 40,000. Python needs ten times as many bytes."""
MOST_RATIO = 100
"""Bytes of all images for each byte of the archive. Images hardly shrink further; zeros do a thousandfold."""
CHUNK = 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression of members. The decoders of the others unfold a block as a whole, however large that is."""


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
    with _opened(archive_path) as archive:
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


class _File(io.FileIO):
    """A zip archive on disk. zipfile reads the list of members at once, and members in small pieces."""

    def read(self, size: int | None = -1, /) -> bytes | None:
        if size is not None and size > MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of members has more than {MOST_DIRECTORY_BYTES} bytes")
        # Without a size, zipfile reads the last bytes, where the list of members ends.
        return super().read(MOST_DIRECTORY_BYTES if size is None or size < 0 else size)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with _File(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # damaged lists of members end in errors of many kinds
            raise AmorlipError(
                f"{path} is not a complete zip archive ({one_line(error)}); download it again"
            ) from error
        with archive:
            yield archive


def _members(path: Path, stems: list[str]) -> dict[str, zipfile.ZipInfo]:
    """Stem → the image of this name. Raises AmorlipError for one that is missing or too large, and for a zip bomb."""
    with _opened(path) as archive:
        entries = archive.infolist()
    members: dict[str, list[zipfile.ZipInfo]] = {}
    for entry in entries:
        name = PurePosixPath(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise AmorlipError(f"{path}: {shortened(name)} is a symbolic link; download the archive again")
        if name.suffix.lower().lstrip(".") in IMAGE_SUFFIXES:
            members.setdefault(name.stem, []).append(entry)
    for stem in stems:
        if len(members.get(stem, [])) != 1:
            count = len(members.get(stem, []))
            raise AmorlipError(f"{path} has {count} images named '{shortened(stem)}', expected one")
    found = {stem: members[stem][0] for stem in stems}
    _check_sizes(path, found.values())
    return found


def _check_sizes(path: Path, entries: Iterable[zipfile.ZipInfo]) -> None:
    total = 0
    for entry in entries:
        if entry.file_size > MOST_IMAGE_BYTES:
            size = f"{entry.file_size} bytes, more than {MOST_IMAGE_BYTES}"
            raise AmorlipError(f"{path}: {shortened(entry.filename)} has {size}; download it again")
        if entry.compress_type not in METHODS or entry.flag_bits & 1:
            raise AmorlipError(
                f"{path}: {shortened(entry.filename)} is encrypted or not compressed by deflate; pack the images again"
            )
        total += entry.file_size
    if total > MOST_RATIO * path.stat().st_size:
        raise AmorlipError(f"{path}: its images have {total} bytes, more than {MOST_RATIO} times the archive")


def _samples(
    path: Path, archive: zipfile.ZipFile, names: list[str], members: dict[str, zipfile.ZipInfo], texts: dict[str, str]
) -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(names):
        member = members[name]
        try:
            # Not archive.read, which unfolds a gigabyte at once whatever size the list of members gives.
            with archive.open(member) as file:
                image = b"".join(iter(lambda: file.read(CHUNK), b""))
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
            what = shortened(member.filename)
            raise AmorlipError(f"{path}: {what} cannot be read ({one_line(error)}); download it again") from error
        yield f"s{number:07d}{PurePosixPath(member.filename).suffix.lower()}", image
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
