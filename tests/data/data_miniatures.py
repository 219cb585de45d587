"""Small true-format inputs for the tests of amorlip.data."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from amorlip.config import Corpus
from amorlip.data.shards import build_manifest

KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


def picture(seed: int, side: int = 16, ending: str = "png") -> bytes:
    """An encoded RGB picture of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, KINDS[ending])
    return file.getvalue()


def pair(sample_id: int, ending: str = "png") -> dict[str, bytes]:
    """The members of a good pair."""
    record = json.dumps({"sample_id": sample_id}).encode()
    return {ending: picture(sample_id, ending=ending), "txt": f"thing {sample_id}".encode(), "json": record}


def write_tar(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> None:
    """A shard with the members of `samples` (key, ending → contents) in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, members in samples:
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def any_corpus(**changes: Any) -> Corpus:
    """A corpus of addresses; what its source says does not matter after the stage `download`."""
    urls = {"train": {"url": "http://127.0.0.1/none.tsv", "columns": ["url", "caption"]}}
    return Corpus.model_validate({"title": "Test", "source": "urls", "urls": urls, "min_yield": 0.0, **changes})


def write_record(folder: Path, shards: list[str], requested: int | None, failed: dict[str, int] | None = None) -> None:
    """A download.json as the stage before `shards` leaves it."""
    record = {"requested": requested, "downloaded": requested, "failed": failed or {}, "shards": shards}
    (folder / "download.json").write_text(json.dumps(record))


def write_split(folder: Path, ids: list[list[int]]) -> Path:
    """A checked split whose shard i holds the pairs `ids[i]`."""
    names = [f"{number:05d}.tar" for number in range(len(ids))]
    for name, numbers in zip(names, ids, strict=True):
        write_tar(folder / name, [(f"{name[:5]}{number:04d}", pair(number)) for number in numbers])
    write_record(folder, names, sum(map(len, ids)))
    build_manifest("test", any_corpus(), "train", folder)
    return folder
