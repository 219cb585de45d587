"""Writers of miniature evaluation sets in the layouts of DataComp's, Flickr30k's, COCO's and WinoGAViL's files."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from amorlip.tasks.pack import pack

SIDE = 8


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Noise, (count, SIDE, SIDE, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, size=(count, SIDE, SIDE, 3), dtype=np.uint8)


def encode(picture: np.ndarray, kind: str = "png") -> bytes:
    """The file of a picture, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **({"lossless": True} if kind == "webp" else {}))
    return buffer.getvalue()


def npy(values: object) -> bytes:
    """The file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(values))
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def classification(
    folder: Path, images: np.ndarray, labels: list[int], names: list[str], templates: list[str], *,
    metadata: list[list[int]] | None = None, shards: int = 1, kind: str = "png",
) -> Path:  # fmt: skip
    """A set in the layout of the DataComp repositories; samples are dealt to the shards in order."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("\n".join(names) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("\n".join(templates))
    for shard, chosen in enumerate(np.array_split(np.arange(len(images)), shards)):
        members = []
        for sample in chosen:
            members.append((f"s{sample:07d}.cls", str(labels[sample]).encode()))
            if metadata is not None:
                members.append((f"s{sample:07d}.npy", npy(metadata[sample])))
            members.append((f"s{sample:07d}.{kind}", encode(images[sample], kind)))
        write_tar(folder / "test" / f"{shard}.tar", members)
    (folder / "test" / "nshards.txt").write_text(f"{shards}\n")
    return folder


def retrieval_archive(
    folder: Path, images: np.ndarray, captions: list[list[str]], name: str = "flickr_1k", table: str = "1k_flickr"
) -> Path:
    """A set as the Flickr30k repository has it, or with other names as COCO's."""
    rows = [{"raw": json.dumps(texts), "split": "test", "filename": f"{row}.png"} for row, texts in enumerate(captions)]
    write_csv(folder / f"test_{table}.csv", rows)
    members = {f"images_{name}_test/{row}.png": encode(images[row]) for row in reversed(range(len(captions)))}
    write_zip(folder / f"images_{name}_test.zip", {f"__MACOSX/images_{name}_test/._0.png": b"finder", **members})
    return folder


def retrieval(folder: Path, images: np.ndarray, captions: list[list[str]]) -> Path:
    """The same, packed."""
    return packed(retrieval_archive(folder, images, captions))


def association_archive(
    folder: Path, images: dict[str, np.ndarray], rounds: list[tuple[str, list[str], list[str]]]
) -> Path:
    """A set as the WinoGAViL repository has it. rounds: cue, candidates, associations."""
    rows = [
        {
            "ID": row, "cue": cue, "associations": str(associations), "candidates": str(candidates),
            "num_associations": len(associations), "num_candidates": len(candidates),
        }
        for row, (cue, candidates, associations) in enumerate(rounds)
    ]  # fmt: skip
    write_csv(folder / "winogavil_dataset.csv", rows)
    members = {f"winogavil_images/{name}.png": encode(picture) for name, picture in images.items()}
    write_zip(folder / "winogavil_images.zip", members)
    return folder


def association(folder: Path, images: dict[str, np.ndarray], rounds: list[tuple[str, list[str], list[str]]]) -> Path:
    """The same, packed."""
    return packed(association_archive(folder, images, rounds))


def packed(folder: Path) -> Path:
    """The archive in `folder`, packed into shards there and removed."""
    pack(folder, folder)
    for archive in folder.glob("*.zip"):
        archive.unlink()
    return folder
