"""Fixtures for miniatures of evaluation sets, and a model whose features are easily recomputed."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers import set_layouts
from tests.helpers.set_layouts import SIDE

WIDTH = 16
CONTEXT = 24
KINDS = {
    "classification": "acc1",
    "classification_grouped": "acc_wg",
    "retrieval": "mean_recall@1",
    "association": "jaccard_score_10-12",
}
"""Kind of task → main metric of its miniature."""


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
        return self.text[torch.arange(CONTEXT, device=text.device), text].sum(dim=1)


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


@pytest.fixture
def toy() -> SimpleNamespace:
    """model, preprocess, tokenizer and the float64 reference."""
    model = ToyModel()
    return SimpleNamespace(
        model=model, preprocess=ToyTransform(), tokenizer=toy_tokenizer, reference=Reference(model)
    )  # fmt: skip


@pytest.fixture
def sets() -> ModuleType:
    """Writers of sets and of their parts."""
    return set_layouts


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


@pytest.fixture
def made(sets, task, tmp_path):
    """A miniature of each kind: (task, folder)."""
    pictures = sets.pictures(24)
    names = [f"thing {n}" for n in range(6)]
    words = [f"word{n}" for n in range(24)]
    labels = [n % 6 for n in range(24)]
    metadata = [[n % 3] for n in range(24)]
    plays = [("owl", words[:10], words[:3]), ("bee", words[9:21], words[9:12]), ("sun", words[:5], words[:2])]
    keys = {"classification_grouped": {"metadata": ["region"], "group_by": "region"}}
    writers = {
        "classification": lambda folder: sets.classification(folder, pictures, labels, names, ["a {c}"]),
        "classification_grouped": lambda folder: sets.classification(
            folder, pictures, labels, names, ["a {c}"], metadata=metadata
        ),
        "retrieval": lambda folder: sets.retrieval(folder, pictures, [[f"one {n}", f"two {n}"] for n in range(24)]),
        "association": lambda folder: sets.association(folder, dict(zip(words, pictures, strict=True)), plays),
    }
    return {kind: (task(kind, KINDS[kind], **keys.get(kind, {})), writers[kind](tmp_path / kind)) for kind in KINDS}
