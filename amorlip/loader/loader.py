"""Batches of image-text pairs, read in random order from the shards of one split.

Global batch k of an epoch depends on the seed, the epoch, k and the pairs only, and a pair's augmentation on the
seed, the epoch and its id: the method, the number of ranks and the number of workers do not change the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from amorlip.common.errors import AmorlipError
from amorlip.config.recipe import pairs_per_rank
from amorlip.corpus.manifest import read_manifest
from amorlip.loader import local_copy
from amorlip.loader.index import open_index, prepare_index
from amorlip.loader.order import Order, Plan
from amorlip.loader.pairs import Batch, Failure, Pairs, Transform
from amorlip.loader.shards import Shards
from amorlip.loader.shared_memory import require_shared_memory

PREFETCH = 4
"""Batches that each worker prepares in advance."""


def prepare(folder: Path) -> None:
    """Check shards and index of a split, once for all processes of a machine, before they make their loaders.

    Raises AmorlipError if they are not those of the manifest.
    """
    prepare_index(folder, read_manifest(folder))


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
        local: folder to which `local_copy` copies the shards; those that are there are read from there.
        prepared: `prepare` was called, by this or another process of this machine.

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
        local: Path | None = None,
        prepared: bool = False,
    ) -> None:
        if not prepared:
            prepare(folder)
        manifest = read_manifest(folder, compare=False)
        self.index = index = open_index(folder, manifest)
        self.samples: int = len(index)
        self.max_sample_id: int = manifest.max_sample_id
        self.digest: str = manifest.digest
        self.steps_per_epoch = self.samples // batch_size
        if self.steps_per_epoch == 0:
            raise AmorlipError(f"{folder}: batch_size {batch_size} is larger than the corpus of {self.samples} pairs")
        pairs = pairs_per_rank(batch_size, world_size)
        first_rows = index.first_rows(len(manifest.shards)) if shuffle_window else np.array([0, self.samples])
        order = Order(self.samples, seed, index.by_id, first_rows, shuffle_window)
        self.plan = Plan(order, batch_size, epochs, slice(rank * pairs, (rank + 1) * pairs))
        shards = Shards(folder, manifest.shards, local_copy.place(local, manifest))
        self._pairs = Pairs(self.plan, index, shards, seed, transform, tokenizer, manifest.transparency)
        self._workers, self._seed, self._batch_pairs = workers, seed, pairs

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """This rank's part of global batch start_step, start_step + 1, … to the end of the last epoch."""
        require_shared_memory(self._pairs.tensor_bytes(self._batch_pairs), self._workers, PREFETCH)
        loader: DataLoader[Any] = DataLoader(
            self._pairs,
            batch_size=None,  # an item is a whole batch
            sampler=range(start_step, self.plan.steps),
            num_workers=self._workers,
            multiprocessing_context="fork" if self._workers else None,  # forked workers share the table of tokens
            prefetch_factor=PREFETCH if self._workers else None,
            pin_memory=torch.cuda.is_available(),
            # Only so that the loader does not draw its workers' seeds from the global generator.
            generator=torch.Generator().manual_seed(self._seed),
        )
        try:
            for batch in loader:
                if isinstance(batch, Failure):
                    raise AmorlipError(batch.message)
                yield batch
        finally:
            self._pairs.close()
