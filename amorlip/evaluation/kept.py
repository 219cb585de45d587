"""Decoded pictures and tokens of a set that a process evaluates again and again, as after each epoch of training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch

from amorlip.common.resident import available_mib
from amorlip.evaluation.images import ImageBatch

PART = 4
"""One part in so many of the memory that is free, or that Slurm gave to the job, may be used."""


class KeptInputs:
    """What one set gives to the model. Its files must not change, and each evaluation must read it in the same way.

    Of several ranks that share a set, each keeps what it decodes. Pictures that do not fit into `room` are decoded each
    time.
    """

    def __init__(self, room: float | None = None, processes: int = 1) -> None:
        """`room`: how much may be kept [bytes]; None: a part of the memory (PART), divided by `processes`.

        processes: how many of this machine keep inputs.
        """
        self.room = _room() / processes if room is None else room
        self._batches: list[ImageBatch] | None = None
        self._tokens: dict[tuple[str, ...], torch.Tensor] = {}

    def batches(self, read: Callable[[], Iterator[ImageBatch]]) -> Iterator[ImageBatch]:
        """The batches that `read()` gives, or those of the first time."""
        if self._batches is not None:
            yield from self._batches
            return
        kept, room = [], self.room
        for batch in read():
            room -= batch.images.nbytes
            if room >= 0:
                kept.append(batch)
            else:
                kept = []
            yield batch
        if room >= 0:
            self._batches, self.room = kept, room

    def tokens(self, texts: list[str], tokenize: Callable[[list[str]], torch.Tensor]) -> torch.Tensor:
        """`tokenize(texts)`, or what it gave the first time."""
        key = tuple(texts)
        if (found := self._tokens.get(key)) is not None:
            return found
        tokens = tokenize(texts)
        if tokens.nbytes <= self.room:
            self.room -= tokens.nbytes
            self._tokens[key] = tokens
        return tokens


def _room() -> float:
    of_job = float(os.environ.get("SLURM_MEM_PER_NODE") or "inf")  # MiB
    return 2**20 * min(available_mib(), of_job) / PART
