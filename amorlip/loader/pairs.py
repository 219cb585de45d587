"""Pairs of the shards → batches: read ahead by threads, decoded, augmented, with their tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from amorlip.common.errors import AmorlipError
from amorlip.common.images import BadImage
from amorlip.common.stable_hash import stable_int
from amorlip.common.transparency import Transparency
from amorlip.loader.decode import decode
from amorlip.loader.index import Index
from amorlip.loader.order import Plan
from amorlip.loader.shards import Shards
from amorlip.loader.tokens import TokenTable

READERS = 16
"""Threads of a process that read: so many reads wait for the disk at once."""

Transform = Callable[[np.ndarray, random.Random], Tensor]
"""Pixels (height, width, 3), uint8, and the source of all random numbers → (3, H, W) uint8."""


Read = Callable[[int, int, int], bytes | None]
"""Shard, offset and size → the bytes."""


class Batch(NamedTuple):
    """One rank's part of a global batch: b pairs."""

    images: Tensor
    """(b, 3, H, W) uint8 levels, in channels_last order in memory, to be normalized on the device."""
    tokens: Tensor
    """(b, L) int64."""
    sample_ids: Tensor
    """(b,) int64."""


class Failure(NamedTuple):
    """An error sent from a worker to the training process. As an exception, its text would be a traceback."""

    message: str


class _Encoded(NamedTuple):
    image: bytes
    caption: bytes | None
    """None where its tokens are known."""


class _Reads(NamedTuple):
    """What was read of a batch, and the reads that have been started."""

    epoch: int
    rows: np.ndarray
    found: list[_Encoded | None]
    """Of every row; None where a thread reads it."""
    parts: list[tuple[list[int], Future[list[_Encoded]]]]
    """Places among the rows, and what a thread reads there."""

    def result(self) -> list[_Encoded]:
        """Of every pair, in the order of the rows. Raises AmorlipError for a shard that cannot be read."""
        found = list(self.found)
        for places, part in self.parts:
            for place, encoded in zip(places, part.result(), strict=True):
                found[place] = encoded
        return [encoded for encoded in found if encoded is not None]


class Pairs(Dataset[Any]):
    """The batch of each step. While one is decoded, the next one of the same process is read."""

    def __init__(
        self,
        plan: Plan,
        index: Index,
        shards: Shards,
        seed: int,
        transform: Transform,
        tokenizer: Callable[[list[str]], Tensor],
        transparency: Transparency,
    ) -> None:
        self.plan, self.index, self.shards, self.seed = plan, index, shards, seed
        self.transform, self.transparency = transform, transparency
        self.tokens = TokenTable(len(index), tokenizer)
        self.pool: ThreadPoolExecutor | None = None
        self.ahead: dict[int, _Reads] = {}

    def __getitem__(self, index: int) -> Batch | Failure:
        """This rank's batch of the step with this number."""
        worker = get_worker_info()
        following = index + (worker.num_workers if worker else 1)
        try:
            reads = self.ahead.pop(index, None) or self._start(index)
            self.ahead = {following: self._start(following)} if following < self.plan.steps else {}
            return self._batch(reads)
        except AmorlipError as error:
            return Failure(str(error))

    def close(self) -> None:
        """End the threads of this process."""
        self.ahead = {}
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
        self.pool = None

    def tensor_bytes(self, pairs: int) -> tuple[int, int, int]:
        """Bytes of images, tokens and ids of a batch of `pairs`."""
        image = self.transform(np.zeros((8, 8, 3), np.uint8), random.Random(0))
        tokens = torch.int64.itemsize * self.tokens.row_size
        return pairs * image.nbytes, pairs * tokens, pairs * torch.int64.itemsize

    def _start(self, step: int) -> _Reads:
        if self.pool is None:  # here and not before: a worker process inherits no threads
            self.pool = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        epoch, rows = self.plan.rows(step)
        found = list(self._read(rows, self.shards.read_cached))
        missing = [place for place, encoded in enumerate(found) if encoded is None]
        parts = [missing[start::READERS] for start in range(min(READERS, len(missing)))]
        return _Reads(epoch, rows, found, [(part, self.pool.submit(self._wait_for, rows[part])) for part in parts])

    def _wait_for(self, rows: np.ndarray) -> list[_Encoded]:
        return [encoded for encoded in self._read(rows, self.shards.read) if encoded is not None]

    def _read(self, rows: np.ndarray, read: Read) -> Iterator[_Encoded | None]:
        """Of every row; None where `read` returns None."""
        index = self.index
        shards = index.shard[rows].tolist()
        images = zip(shards, index.image_offset[rows].tolist(), index.image_bytes[rows].tolist(), strict=True)
        captions = zip(shards, index.caption_offset[rows].tolist(), index.caption_bytes[rows].tolist(), strict=True)
        known = self.tokens.are_known(rows).tolist()
        for image, caption, is_known in zip(images, captions, known, strict=True):
            pixels = read(*image)
            text = None if is_known else read(*caption)
            yield None if pixels is None or (text is None and not is_known) else _Encoded(pixels, text)

    def _batch(self, reads: _Reads) -> Batch:
        found = reads.result()
        ids = self.index.sample_id[reads.rows]
        images = None
        for place, row in enumerate(reads.rows):
            image = self._image(row, found[place].image, stable_int("augmentation", self.seed, reads.epoch, ids[place]))
            if images is None:
                images = _empty_rows(image, len(ids))
            images[place] = image
        captions = {int(row): each.caption for row, each in zip(reads.rows, found, strict=True)}
        tokens = self.tokens.get(reads.rows, lambda row: self._caption(row, captions[row] or b""))
        assert images is not None
        return Batch(images, tokens, torch.from_numpy(ids))

    def _image(self, row: int, data: bytes, seed: int) -> Tensor:
        try:
            pixels = decode(data, self.transparency)
        except BadImage as error:
            raise self._damaged(row, "image", error) from error
        return self.transform(pixels, random.Random(seed))

    def _caption(self, row: int, data: bytes) -> str:
        try:
            return data.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise self._damaged(row, "caption", "caption is not UTF-8") from error

    def _damaged(self, row: int, what: str, reason: object) -> AmorlipError:
        """The error for an image or caption that was readable in the stage `shards`."""
        index = self.index
        offset = getattr(index, f"{what}_offset")[row]
        place = f"{self.shards.path(index.shard[row])}, sample {index.sample_id[row]} (byte {offset})"
        return AmorlipError(f"{place}: {reason}; the shard has changed since the stage `shards`, download it again")


def _empty_rows(first: Tensor, count: int) -> Tensor:
    """Room for `count` tensors like `first`, each laid out in memory as it is.

    In a worker process it is shared memory, so that the batch is passed on without another copy.
    """
    size = count * first.nbytes
    storage = torch.UntypedStorage._new_shared(size) if get_worker_info() else torch.UntypedStorage(size)
    strides = (first.numel(), *torch.empty_like(first).stride())
    return torch.empty(0, dtype=first.dtype).set_(storage, 0, (count, *first.shape), strides)
