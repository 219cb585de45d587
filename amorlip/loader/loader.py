"""Batches of image-text pairs, read in random order from the shards of one split.

Global batch k of an epoch depends on the seed, the epoch, k and the pairs only, and a pair's augmentation on the
seed, the epoch and its id: the method, the number of ranks and the number of workers do not change the training data.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from amorlip.common.errors import AmorlipError
from amorlip.common.images import BadImage
from amorlip.common.parquet import damaged
from amorlip.common.stable_hash import stable_int
from amorlip.common.transparency import Transparency
from amorlip.config.recipe import pairs_per_rank
from amorlip.corpus.manifest import INDEX, INDEX_SCHEMA, read_manifest
from amorlip.corpus.records import MANIFEST, Manifest
from amorlip.loader.decode import decode
from amorlip.loader.shared_memory import require_shared_memory
from amorlip.loader.tokens import TokenTable

OPEN_SHARDS = 64
PREFETCH = 4
"""Batches that each worker prepares in advance."""

Transform = Callable[[np.ndarray, random.Random], torch.Tensor]
"""Pixels (height, width, 3), uint8, and the source of all random numbers → (3, H, W) uint8."""


class Batch(NamedTuple):
    """One rank's part of a global batch: b pairs."""

    images: torch.Tensor
    """(b, 3, H, W) uint8 levels, to be normalized on the device."""
    tokens: torch.Tensor
    """(b, L) int64."""
    sample_ids: torch.Tensor
    """(b,) int64."""


class PairLoader:
    """The pairs of one split in batches, each pair once per epoch (the last incomplete batch is dropped).

    Args:
        folder: holds manifest.json, index.parquet and the shards.
        batch_size: pairs in a global batch; rank r of w gets rows [r b, (r+1) b) with b = batch_size / w.
        epochs: passes over the pairs.
        seed: seed of order and augmentation.
        transform: turns decoded pixels into a training image, as `augment.train_transform` does.
        tokenizer: list of b captions → (b, L) int64, below 65536; called once for each caption.
        rank, world_size: which part of each global batch to read.
        workers: decoding processes, kept over all epochs; 0 decodes in this process.
        shuffle_window: shards that are shuffled together; 0 shuffles the whole corpus at once.
        compare: compare checksums where that is due; False: another process of this machine has.

    Raises:
        AmorlipError: if the shards are not those of the manifest, or the batch size does not suit corpus or ranks;
            while reading, if an image cannot be decoded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        transform: Transform,
        tokenizer: Callable[[list[str]], torch.Tensor],
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        shuffle_window: int = 0,
        compare: bool = True,
    ) -> None:
        manifest = read_manifest(folder, compare=compare)
        index = read_index(folder, manifest)
        self.samples: int = len(index)
        self.max_sample_id: int = manifest.max_sample_id
        self.digest: str = manifest.digest
        self.steps_per_epoch = self.samples // batch_size
        if self.steps_per_epoch == 0:
            raise AmorlipError(f"{folder}: batch_size {batch_size} is larger than the corpus of {self.samples} pairs")
        pairs_per_rank(batch_size, world_size)
        self._order = _Order(index, batch_size, epochs, seed, rank, world_size, shuffle_window)
        shards = [folder / shard.name for shard in manifest.shards]
        self._pairs = _Pairs(shards, index, seed, transform, tokenizer, manifest.transparency)
        self._workers, self._seed = workers, seed

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """This rank's part of global batch start_step, start_step + 1, … to the end of the last epoch."""
        require_shared_memory(self._pairs.tensor_bytes(self._order.pairs), self._workers, PREFETCH)
        loader = DataLoader(
            self._pairs,
            batch_sampler=self._order.starting(start_step),
            collate_fn=_as_it_is,
            num_workers=self._workers,
            multiprocessing_context="fork" if self._workers else None,  # forked workers share the table of tokens
            prefetch_factor=PREFETCH if self._workers else None,
            pin_memory=torch.cuda.is_available(),
            # Only so that the loader does not draw its workers' seeds from the global generator.
            generator=torch.Generator().manual_seed(self._seed),
        )
        for batch in loader:
            if isinstance(batch, _Failure):
                raise AmorlipError(batch.message)
            yield batch


def read_index(folder: Path, manifest: Manifest) -> np.ndarray:
    """The index of a split as a structured array of pairs. Raises AmorlipError if it does not match the manifest."""
    path = folder / INDEX
    advice = f"delete it and {folder / MANIFEST}, and run again"
    with damaged(path, advice), path.open("rb") as file:
        # Arrow reads the file that was opened here, so its bytes are those of the checksum.
        if manifest.index_sha256 not in (None, hashlib.file_digest(file, "sha256").hexdigest()):
            raise ValueError(f"it does not match its checksum in {MANIFEST}")
        table = pq.read_table(file, page_checksum_verification=True)
    if not table.schema.equals(INDEX_SCHEMA):
        raise AmorlipError(f"{path} has other columns than {', '.join(INDEX_SCHEMA.names)}; {advice}")
    if len(table) != manifest.samples:
        raise AmorlipError(f"{path} holds {len(table)} pairs, the manifest {manifest.samples}; {advice}")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    index = np.empty(len(table), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        index[name] = column
    return index


class _Order(Sampler[list[tuple[int, int]]]):
    """For each step, the (epoch, row of the index) of each of this rank's pairs."""

    def __init__(
        self, index: np.ndarray, batch_size: int, epochs: int, seed: int, rank: int, world_size: int, window: int
    ) -> None:
        self.index, self.batch_size, self.epochs, self.seed, self.window = index, batch_size, epochs, seed, window
        self.steps_per_epoch = len(index) // batch_size
        self.pairs = batch_size // world_size
        self.part = slice(rank * self.pairs, (rank + 1) * self.pairs)
        self.start = 0

    def starting(self, step: int) -> _Order:
        self.start = step
        return self

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first_epoch, first_step = divmod(self.start, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = self.permutation(epoch)
            for step in range(first_step if epoch == first_epoch else 0, self.steps_per_epoch):
                rows = order[step * self.batch_size : (step + 1) * self.batch_size][self.part]
                yield [(epoch, int(row)) for row in rows]

    def permutation(self, epoch: int) -> np.ndarray:
        """The rows of the index in the order of `epoch`."""
        generator = np.random.Generator(np.random.PCG64(stable_int("order", self.seed, epoch)))
        if self.window == 0:
            # Sorted by id, because a resumed download spreads pairs over shards differently.
            return generator.permutation(np.argsort(self.index["sample_id"], kind="stable"))
        shards = generator.permutation(int(self.index["shard"].max()) + 1)
        ends = np.searchsorted(self.index["shard"], np.arange(len(shards) + 1))
        windows = [shards[i : i + self.window] for i in range(0, len(shards), self.window)]
        rows = ([np.arange(ends[shard], ends[shard + 1]) for shard in window] for window in windows)
        return np.concatenate([generator.permutation(np.concatenate(group)) for group in rows])


class _Failure(NamedTuple):
    """An error sent from a worker to the training process. As an exception, its text would be a traceback."""

    message: str


class _Pairs(Dataset[Any]):
    """Reads, decodes and augments pairs, a whole batch per call."""

    def __init__(
        self,
        shards: list[Path],
        index: np.ndarray,
        seed: int,
        transform: Transform,
        tokenizer: Callable,
        transparency: Transparency,
    ) -> None:
        self.transparency = transparency
        self.shards, self.index, self.seed, self.transform = shards, index, seed, transform
        self.tokens = TokenTable(len(index), tokenizer)
        self.files: OrderedDict[int, int] = OrderedDict()

    def __getitems__(self, wanted: list[tuple[int, int]]) -> Batch | _Failure:
        rows = [row for _, row in wanted]
        try:
            images = torch.stack([self.image(epoch, row) for epoch, row in wanted])
            tokens = self.tokens.get(rows, self.caption)
        except AmorlipError as error:
            return _Failure(str(error))
        ids = self.index["sample_id"][rows]
        return Batch(images, tokens, torch.from_numpy(ids))

    def tensor_bytes(self, pairs: int) -> tuple[int, int, int]:
        """Bytes of images, tokens and ids of a batch of `pairs`."""
        image = self.transform(np.zeros((8, 8, 3), np.uint8), random.Random(0))
        tokens = torch.int64.itemsize * self.tokens.tokens[0].size
        return pairs * image.nbytes, pairs * tokens, pairs * torch.int64.itemsize

    def image(self, epoch: int, row: int) -> torch.Tensor:
        entry = self.index[row]
        data = self.read(entry["shard"], entry["image_offset"], entry["image_bytes"])
        try:
            pixels = decode(data, self.transparency)
        except BadImage as error:
            raise self.damaged(entry, "image", error) from error
        return self.transform(pixels, random.Random(stable_int("augmentation", self.seed, epoch, entry["sample_id"])))

    def caption(self, row: int) -> str:
        entry = self.index[row]
        data = self.read(entry["shard"], entry["caption_offset"], entry["caption_bytes"])
        try:
            return data.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise self.damaged(entry, "caption", "caption is not UTF-8") from error

    def damaged(self, entry: np.void, what: str, reason: object) -> AmorlipError:
        """The error for an image or caption that was readable in the stage `shards`."""
        place = f"{self.shards[entry['shard']]}, sample {entry['sample_id']} (byte {entry[f'{what}_offset']})"
        return AmorlipError(f"{place}: {reason}; the shard has changed since the stage `shards`, download it again")

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes of a shard. The most recently used shards are kept open."""
        if shard in self.files:
            self.files.move_to_end(shard)
        else:
            self.files[shard] = os.open(self.shards[shard], os.O_RDONLY)
            if len(self.files) > OPEN_SHARDS:
                os.close(self.files.popitem(last=False)[1])
        return os.pread(self.files[shard], size, offset)


def _as_it_is(batch: Any) -> Any:
    return batch
