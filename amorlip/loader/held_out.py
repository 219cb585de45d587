"""A corpus' validation split as a retrieval task: find each image's own caption, and each caption's image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from amorlip.common.errors import AmorlipError
from amorlip.common.files import write_text
from amorlip.common.images import open_image
from amorlip.corpus.manifest import read_manifest
from amorlip.loader.index import read_index
from amorlip.tasks.pack import write_shard

ENDINGS = {"PNG": "png", "WEBP": "webp"}
"""Pillow's name of a format → extension of the member. Anything else is a jpg: readers detect the format."""


def build_task(split: Path, output: Path) -> None:
    """Write `output`/test/nshards.txt and 0.tar … with the usable pairs of `split`, in the order of its index.

    `split` is a folder with manifest.json and index.parquet. A sample is an image, its bytes unchanged, and `txt`, its
    caption. Raises AmorlipError if the split has no pairs, or its files do not match its manifest.
    """
    manifest = read_manifest(split)
    index = read_index(split, manifest)
    if not len(index):
        raise AmorlipError(f"{split}: the validation split has no pairs; raise urls.validation_fraction of the corpus")
    written = 0
    for number, shard in enumerate(manifest.shards):
        rows = index[index["shard"] == number]
        if len(rows):
            write_shard(output / "test" / f"{written}.tar", _members(split / shard.name, rows))
            written += 1
    write_text(output / "test" / "nshards.txt", f"{written}\n")


def _members(shard: Path, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
    with shard.open("rb") as file:
        for row in rows:
            file.seek(row["image_offset"])
            image = file.read(row["image_bytes"])
            file.seek(row["caption_offset"])
            # one caption per line: the tokenizer reads any white space as one space
            caption = " ".join(file.read(row["caption_bytes"]).decode("utf-8").split())
            ending = ENDINGS.get(str(open_image(image).format), "jpg")
            yield f"{row['sample_id']:09d}.{ending}", image
            yield f"{row['sample_id']:09d}.txt", f"{caption}\n".encode()
