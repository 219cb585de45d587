"""Miniatures of the evaluation sets in their true layouts, and a model whose features are easily recomputed."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from amorlip.tasks.pack import pack

SIDE = 8
WIDTH = 16
CONTEXT = 24


class ToyModel(nn.Module):
    """Features are fixed random projections: of the pixels, and of the bytes with their places."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.image = nn.Parameter(torch.randn(3 * SIDE * SIDE, WIDTH, generator=generator))
        self.text = nn.Parameter(torch.randn(CONTEXT, 256, WIDTH, generator=generator))
        self.dropout = nn.Dropout(0.5)

    def encode_image(self, image: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        return self.dropout(image.flatten(1)) @ self.image

    def encode_text(self, text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        return self.text[torch.arange(CONTEXT), text].sum(dim=1)


class ToyTransform:
    """Resizes, and shifts to between -0.5 and 0.5."""

    def picture(self, image: Image.Image) -> np.ndarray:
        return np.array(image.resize((SIDE, SIDE)))

    def normalize(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.permute(0, 3, 1, 2) / 255 - 0.5

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.normalize(torch.from_numpy(self.picture(image))[None])[0]


def toy_tokenizer(texts: list[str]) -> torch.Tensor:
    return torch.tensor([list(text.encode().ljust(CONTEXT)[:CONTEXT]) for text in texts])


def _normalized(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


class Reference:
    """The toy model's features in float64, from pixels and texts, by other means than the package's."""

    def __init__(self, model: ToyModel) -> None:
        self.image = model.image.detach().double().numpy()
        self.text = model.text.detach().double().numpy()

    def images(self, pictures: np.ndarray) -> np.ndarray:
        """pictures: (n, SIDE, SIDE, 3) uint8 → (n, WIDTH)."""
        return _normalized((pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1) / 255 - 0.5) @ self.image)

    def texts(self, texts: list[str]) -> np.ndarray:
        """→ (n, WIDTH)."""
        rows = [list(text.encode().ljust(CONTEXT)[:CONTEXT]) for text in texts]
        return _normalized(np.array([sum(self.text[place, byte] for place, byte in enumerate(row)) for row in rows]))

    def classes(self, names: list[str], templates: list[str]) -> np.ndarray:
        """→ (classes, WIDTH)."""
        return _normalized(
            np.array([self.texts([template.format(c=name) for template in templates]).mean(axis=0) for name in names])
        )


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


def retrieval_archive(folder: Path, images: np.ndarray, captions: list[list[str]]) -> Path:
    """A set as the Flickr30k repository has it."""
    rows = [{"raw": json.dumps(texts), "split": "test", "filename": f"{row}.png"} for row, texts in enumerate(captions)]
    write_csv(folder / "test_1k_flickr.csv", rows)
    members = {f"images_flickr_1k_test/{row}.png": encode(images[row]) for row in reversed(range(len(captions)))}
    write_zip(folder / "images_flickr_1k_test.zip", {"__MACOSX/images_flickr_1k_test/._0.png": b"finder", **members})
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


@pytest.fixture
def toy() -> SimpleNamespace:
    """model, preprocess, tokenizer and the float64 reference."""
    model = ToyModel()
    return SimpleNamespace(
        model=model, preprocess=ToyTransform(), tokenizer=toy_tokenizer, reference=Reference(model)
    )  # fmt: skip


@pytest.fixture
def sets() -> SimpleNamespace:
    """Writers of sets and of their parts."""
    return SimpleNamespace(
        classification=classification, retrieval=retrieval, association=association,
        retrieval_archive=retrieval_archive, association_archive=association_archive, pictures=pictures,
        encode=encode, npy=npy, write_tar=write_tar, write_zip=write_zip, write_csv=write_csv,
    )  # fmt: skip


@pytest.fixture
def encoder(toy):
    """The toy model, ready for the evaluators."""
    from amorlip.evaluation.features import Encoder

    toy.model.eval()
    return Encoder(toy.model, toy.preprocess, toy.tokenizer, torch.device("cpu"), "float32", batch_size=8, workers=0)


@pytest.fixture
def task():
    """A task of a kind, with any keys."""
    from amorlip.config.benchmark import Task, TaskSource

    def make(kind: str, main_metric: str, **keys: object) -> Task:
        source = TaskSource(kind="folder", path="unused")
        return Task(title="Miniature", kind=kind, main_metric=main_metric, source=source, **keys)

    return make
