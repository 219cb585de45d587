"""Decodes images into batches, in the order of the set for any number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from amorlip.common.errors import AmorlipError
from amorlip.common.images import EVALUATION_FORMATS, BadImage, open_image, to_rgb
from amorlip.common.transparency import Transparency
from amorlip.tasks.read import LabeledImage


class ImageBatch(NamedTuple):
    """Up to `batch_size` samples."""

    keys: list[str]
    images: torch.Tensor
    """The results of `decode`, stacked: (b, …). (0,) if they were not decoded here."""
    labels: torch.Tensor
    """(b,), int64; -1 if the set has no labels."""
    metadata: torch.Tensor
    """(b, columns), int64."""


def batches(
    records: Callable[[], Iterator[LabeledImage]],
    decode: Callable[[Image.Image], torch.Tensor | np.ndarray] | None,
    *,
    batch_size: int,
    workers: int,
    transparency: Transparency = "drop",
    pin_memory: bool = False,
    rank: int = 0,
    size: int = 1,
) -> Iterator[ImageBatch]:
    """Batches of what `records()` yields, in its order, with each image decoded by `decode`; None: no image is read.

    Of `size` processes that share a set, `rank` decodes the batches rank, rank + size, …; the others have no images.
    Draws no global random numbers. Raises AmorlipError for a faulty sample.
    """
    loader = DataLoader(
        _Rounds(records, decode, batch_size, transparency, rank, size),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # without it, the loader draws a seed from the global generator
    )
    for batches_of_round in loader:
        if isinstance(batches_of_round, AmorlipError):
            raise batches_of_round
        yield from batches_of_round


class _Rounds(IterableDataset):
    """Rounds of `size` batches, of which one is decoded. Worker w of W reads every sample, for rounds w, w + W, …

    Decoding takes the time, and the loader goes through its workers in order, so the batches come in order.
    """

    def __init__(
        self,
        records: Callable[[], Iterator[LabeledImage]],
        decode: Callable[[Image.Image], torch.Tensor | np.ndarray] | None,
        batch_size: int,
        transparency: Transparency,
        rank: int,
        size: int,
    ) -> None:
        self.records = records
        self.decode = decode
        self.batch_size = batch_size
        self.transparency = transparency
        self.rank = rank
        self.size = size

    def __iter__(self) -> Iterator[list[ImageBatch] | AmorlipError]:
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        try:
            for number, records in enumerate(_chunks(self.records(), self.batch_size * self.size)):
                if number % turns == turn:
                    yield self._round(records)
        except AmorlipError as error:
            # As a value: the loader would turn a worker's exception into one whose text is a traceback.
            yield error

    def _round(self, records: list[LabeledImage]) -> list[ImageBatch]:
        parts = enumerate(_chunks(iter(records), self.batch_size))
        return [self._batch(part, self.decode if rank == self.rank else None) for rank, part in parts]

    def _batch(
        self, records: list[LabeledImage], decode: Callable[[Image.Image], torch.Tensor | np.ndarray] | None
    ) -> ImageBatch:
        images = np.stack([decode(_open(record, self.transparency)) for record in records]) if decode else np.empty(0)
        return ImageBatch(
            [record.key for record in records],
            torch.from_numpy(images),
            torch.tensor([record.label for record in records]),
            torch.from_numpy(np.stack([record.metadata for record in records])),
        )


def _chunks(records: Iterator[LabeledImage], size: int) -> Iterator[list[LabeledImage]]:
    chunk = []
    for record in records:
        chunk.append(record)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _open(record: LabeledImage, transparency: Transparency) -> Image.Image:
    try:
        # RGB before any resizing, as WebDataset's decoder does it: a palette cannot be interpolated.
        return to_rgb(open_image(record.read(), EVALUATION_FORMATS), transparency)
    except BadImage as error:
        raise AmorlipError(f"{record.where}: {error}; replace the image or remove the sample") from error
