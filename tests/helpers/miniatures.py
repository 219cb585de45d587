"""Small inputs in the true formats: pictures, pairs, shards, artwork."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from amorlip.config.corpus import Corpus, EmojiSource
from amorlip.corpus.manifest import build_manifest
from amorlip.corpus.records import DOWNLOAD, DownloadRecord
from amorlip.emoji import artwork, npm

KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


def picture(seed: int, side: int = 16, ending: str = "png") -> bytes:
    """An encoded RGB picture of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, KINDS[ending])
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG file whose header promises `side` × `side` RGB pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


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
    """A corpus of addresses, also of files and loopback servers."""
    urls = {"train": {"url": "file:///none.tsv", "columns": ["url", "caption"]}, "allow_private_addresses": True}
    return Corpus.model_validate({"title": "Test", "source": "urls", "urls": urls, "min_yield": 0.0, **changes})


def write_record(folder: Path, shards: list[str], requested: int | None, failed: dict[str, int] | None = None) -> None:
    """A download.json as the stage before `shards` leaves it."""
    record = DownloadRecord(
        source="urls", split="train", requested=requested, downloaded=requested, failed=failed or {}, shards=shards
    )
    record.write(folder / DOWNLOAD)


def write_split(folder: Path, ids: list[list[int]]) -> Path:
    """A checked split whose shard i holds the pairs `ids[i]`."""
    names = [f"{number:05d}.tar" for number in range(len(ids))]
    for name, numbers in zip(names, ids, strict=True):
        write_tar(folder / name, [(f"{name[:5]}{number:04d}", pair(number)) for number in numbers])
    write_record(folder, names, sum(map(len, ids)))
    build_manifest("test", any_corpus(), "train", folder)
    return folder


# ---------------------------------------------------------------- emoji

NAMES = 60
TAGS = ("alpha", "beta", "gamma", "delta", "eta", "theta")
STYLES = {"@set/tw": "twemoji", "@set/no": "noto", "moji": "openmoji", "solid": "fluent_3d"}
DIGEST = "sha512-" + "A" * 86 + "=="


def mini_source(**changes: Any) -> EmojiSource:
    """Two training styles and two held-out ones under the demo's names, emoji names, sketches and digits."""
    roles = {
        **{
            name: ("heldout_style" if style in ("openmoji", "fluent_3d") else "style") for name, style in STYLES.items()
        },
        **{"names": "names", "sketches": "sketches", "digits": "digits"},
    }
    packages = {
        name: {"version": "1.0.0", "integrity": DIGEST, "license": "MIT", "role": role, "style": STYLES.get(name)}
        for name, role in roles.items()
    }
    defaults = {"packages": packages, "picture_size": 16, "heldout_names": 0.2, "heldout_instances": 0.2}
    return EmojiSource.model_validate({**defaults, **changes})


def build_mini_artwork(folder: Path, source: EmojiSource | None = None) -> Path:
    """The stage `artwork` on packages that lie there already, as if fetched: 60 things drawn in four styles."""
    source = source or mini_source()
    writers = {"names": _names, "sketches": _sketches, "digits": _digits, "solid": _webps}
    for number, name in enumerate(source.packages):
        package = folder / "packages" / name
        package.mkdir(parents=True)
        writers.get(name, _icons)(package, number)
        (package / npm.STAMP).write_text(DIGEST)
    artwork.build_artwork(source, folder)
    return folder


def _names(package: Path, _: int) -> None:
    (package / "meta").mkdir()
    (package / "en").mkdir()
    subgroups = {str(number): f"sub-{number}" for number in range(6)}
    (package / "meta" / "groups.json").write_text(json.dumps({"groups": {"0": "all"}, "subgroups": subgroups}))
    (package / "meta" / "unicode-names.json").write_text("{}")
    entries = [
        {
            "label": f"thing {i}",
            "hexcode": f"{0x1F600 + i:X}",
            "group": 0,
            "subgroup": i % 6,
            "tags": [TAGS[i % 6], "thing"],
        }
        for i in range(NAMES)
    ]
    odd = [{**entries[0], "label": label, "hexcode": code} for label, code in (("blank", "2600"), ("broken", "2601"))]
    (package / "en" / "data.json").write_text(json.dumps(entries + odd))


def _icons(package: Path, style: int) -> None:
    """A square whose place and color tell the thing and the style; the first set has two icons without a picture."""
    icons = {
        f"thing-{i}": {"body": f'<path fill="#{i * 4:02x}{style * 60:02x}00" d="M{i % 8} {i // 8}h4v4h-4z"/>'}
        for i in range(NAMES)
    }
    if style == 0:
        icons |= {"blank": {"body": ""}, "broken": {"body": "<path"}}
    (package / "icons.json").write_text(json.dumps({"prefix": "x", "icons": icons, "width": 12, "height": 12}))


def _webps(package: Path, _: int) -> None:
    (package / "assets").mkdir()
    for i in range(NAMES):
        (package / "assets" / f"{0x1F600 + i:x}.webp").write_bytes(picture(i, ending="webp"))


def _sketches(package: Path, _: int) -> None:
    """Classes with and without an emoji of their name; drawing k has k + 1 dots of ink."""
    (package / "src" / "drawings").mkdir(parents=True)
    lines = [json.dumps([1.0] * (k + 1) + [0] * (783 - k)) for k in range(30)]
    for name in ("thing 1", "Thing 2", "thing 5", "thing 7", "unknown"):
        data = gzip.compress("\n".join(lines).encode(), mtime=0)
        (package / "src" / "drawings" / f"{name}.ndjson.gz").write_bytes(data)


def _digits(package: Path, _: int) -> None:
    (package / "data").mkdir()
    images = bytes(16) + bytes(i % 250 for i in range(100) for _ in range(784))
    (package / "data" / "t10k-images-idx3-ubyte").write_bytes(images)
    (package / "data" / "t10k-labels-idx1-ubyte").write_bytes(bytes(8) + bytes(i // 5 % 10 for i in range(100)))
