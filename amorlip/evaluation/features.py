"""Image and text features of a model.

Shape suffixes: B batch, N texts, C classes, D embedding dimension.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from amorlip.common.errors import AmorlipError
from amorlip.common.transparency import Transparency
from amorlip.evaluation.feature_cache import FeatureCache
from amorlip.evaluation.images import ImageBatch, batches
from amorlip.evaluation.kept import KeptInputs
from amorlip.evaluation.share import Share, in_order
from amorlip.tasks.read import LabeledImage

PROMPTS_AT_ONCE = 4096
"""Most prompts whose features are in memory while class embeddings are averaged."""


class Preprocess(Protocol):
    """The evaluation transform in the two parts of `amorlip.models.EvalTransform`."""

    def picture(self, image: Image.Image) -> np.ndarray:
        """(H, W, 3), uint8."""

    def normalize(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3), uint8 → (B, 3, H, W), float32."""


@dataclass(frozen=True)
class Encoder:
    """A model with everything that turns images and texts into features."""

    model: nn.Module
    """A model with OpenCLIP's encode_image and encode_text."""
    preprocess: Preprocess
    tokenizer: Callable[[list[str]], torch.Tensor]
    device: torch.device
    precision: str
    """Autocast on a GPU: float32, bfloat16 or float16. On a CPU always float32."""
    batch_size: int
    workers: int
    full: bool = False
    """Whether an evaluator's rows have all scores, and not only the prediction and the rank of the right answer."""
    cache: FeatureCache | None = None
    kept: KeptInputs | None = None
    """Of the set, where it is evaluated again and again by this process."""
    share: Share | None = None
    """The ranks that encode the set together, all with an encoder like this one; None: this process alone. Not with
    `cache`, which could have features for some ranks and not for others."""

    def images(
        self, records: Callable[[], Iterator[LabeledImage]], transparency: Transparency, *, shared: bool = False
    ) -> Iterator[tuple[torch.Tensor, ImageBatch]]:
        """For each batch of `records()`, in order: features (B, D), float32, of unit length, on the device; the batch.

        With `shared`, the features are kept in the cache. Another set with the same files in the same order reads them
        and decodes no image; its batches then have no images. With `share`, no batch has.
        Raises AmorlipError for a faulty image and for features that are not finite.
        """
        if not shared or self.cache is None:
            yield from self._images(records, transparency)
            return
        digest = hashlib.sha256()
        for record in records():
            digest.update(hashlib.sha256(record.read()).digest())
        if digest.digest() == hashlib.sha256().digest():
            return
        key = ["images", digest.hexdigest(), transparency, self.batch_size]

        def compute() -> torch.Tensor:
            return torch.cat([part for part, _ in self._images(records, transparency)])

        features = self.cache.get(key, self.precision, self.device, compute)
        undecoded = batches(records, None, batch_size=self.batch_size, workers=0)
        yield from zip(features.split(self.batch_size), undecoded, strict=True)

    def _images(
        self, records: Callable[[], Iterator[LabeledImage]], transparency: Transparency
    ) -> Iterator[tuple[torch.Tensor, ImageBatch]]:
        if self.share is None:
            for batch in self._decoded(records, transparency, 0, 1):
                yield self._of_pictures(batch), batch
            return
        share, every = self.share, []

        def own() -> torch.Tensor:
            parts = []
            for number, batch in enumerate(self._decoded(records, transparency, share.rank, share.size)):
                parts += [self._of_pictures(batch)] if number % share.size == share.rank else []
                every.append(batch._replace(images=torch.empty(0)))  # all of the set's would fill the memory
            return self._joined(parts)

        yield from zip(in_order(share.exchange(own), self.batch_size), every, strict=True)

    def _decoded(
        self, records: Callable[[], Iterator[LabeledImage]], transparency: Transparency, rank: int, size: int
    ) -> Iterator[ImageBatch]:
        read = functools.partial(
            batches,
            records,
            self.preprocess.picture,
            batch_size=self.batch_size,
            workers=self.workers,
            transparency=transparency,
            pin_memory=self.device.type == "cuda",
            rank=rank,
            size=size,
        )
        return read() if self.kept is None else self.kept.batches(read)

    def _of_pictures(self, batch: ImageBatch) -> torch.Tensor:
        pictures = batch.images.to(self.device, non_blocking=True)
        return self._encode("image", self.preprocess.normalize(pictures))

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Features (N, D), float32, of unit length, on the device. Equal texts are encoded once and get equal features.

        Raises AmorlipError for features that are not finite.
        """
        positions: dict[str, int] = {}
        inverse = torch.tensor([positions.setdefault(text, len(positions)) for text in texts])
        unique = list(positions)
        parts = [unique[start : start + self.batch_size] for start in range(0, len(unique), self.batch_size)]
        return self._of_texts(parts)[inverse.to(self.device)]

    def _of_texts(self, parts: list[list[str]]) -> torch.Tensor:
        def encoded(some: list[list[str]]) -> torch.Tensor:
            return self._joined([self._encode("text", self._tokens(part)) for part in some])

        if self.share is None:
            return encoded(parts)
        own = parts[self.share.rank :: self.share.size]
        return torch.cat(list(in_order(self.share.exchange(lambda: encoded(own)), self.batch_size)))

    def _joined(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """(n, D), or (0,) if there are none."""
        return torch.cat(parts) if parts else torch.empty(0, device=self.device)

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        return self.tokenizer(texts) if self.kept is None else self.kept.tokens(texts, self.tokenizer)

    def classes(self, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
        """Class embeddings (C, D): a name's normalized features, averaged over templates and normalized, as in CLIP."""
        if self.cache is None:
            return self._classes(names, templates)
        key = [list(names), list(templates)]
        return self.cache.get(key, self.precision, self.device, lambda: self._classes(names, templates))

    def _classes(self, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
        step = max(1, PROMPTS_AT_ONCE // len(templates))
        embeddings = []
        for start in range(0, len(names), step):
            part = names[start : start + step]
            prompts = [template.replace("{c}", name) for name in part for template in templates]
            features = self.texts(prompts).view(len(part), len(templates), -1)
            embeddings.append(F.normalize(features.mean(dim=1), dim=-1))
        return torch.cat(embeddings)

    def _encode(self, modality: Literal["image", "text"], inputs: torch.Tensor) -> torch.Tensor:
        encode = getattr(self.model, f"encode_{modality}")
        enabled = self.device.type != "cpu" and self.precision != "float32"
        dtype = torch.float16 if self.precision == "float16" else torch.bfloat16
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=enabled):
            features = encode(inputs.to(self.device, non_blocking=True), normalize=False)
        if not torch.isfinite(features).all():
            raise AmorlipError("the model's features are not finite: its weights have diverged or are damaged")
        return F.normalize(features.float(), dim=-1)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[Any]:
    """Evaluation mode within the block; afterwards each module has the mode it had before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training
