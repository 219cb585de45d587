"""Batches on their way to the device."""

from __future__ import annotations

import pytest
import torch

from amorlip.loader.loader import Batch
from amorlip.training import transfer


def batches(count: int, pinned: bool = False):
    for k in range(count):
        parts = torch.full((8, 3, 4, 4), k, dtype=torch.uint8), torch.full((8, 5), k), torch.full((8,), k)
        yield Batch(*(part.pin_memory() if pinned else part for part in parts))


def test_on_a_cpu_batches_are_handed_on_as_they_are():
    given = list(batches(3))
    found = list(transfer.to_device(iter(given), torch.device("cpu")))
    assert all(ours is theirs and ends is None for (ours, ends), theirs in zip(found, given, strict=True))


def test_the_ends_of_texts_are_computed_on_the_host():
    [(_, ends)] = transfer.to_device(batches(1), torch.device("cpu"), lambda tokens: tokens.sum(1).numpy())
    assert ends.tolist() == [0] * 8


def test_a_batch_is_asked_for_when_it_is_wanted():
    """An error of the loader ends training at its own batch, after the steps before it."""

    def broken():
        yield from batches(2)
        raise RuntimeError("the third")

    stream = transfer.to_device(broken(), torch.device("cpu"))
    assert [int(next(stream)[0].sample_ids[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(RuntimeError, match="the third"):
        next(stream)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="copies to a GPU")
def test_on_a_gpu_the_copies_are_whole():
    """Each is read by work that is queued behind much else, when the next ones are already copied."""
    device, sums = torch.device("cuda"), []
    busy = torch.randn(2048, 2048, device=device)
    for batch, _ in transfer.to_device(batches(20, pinned=True), device):
        for _ in range(20):
            busy = (busy @ busy).tanh()
        sums.append(torch.stack([part.double().mean() for part in batch]))
    for k, found in enumerate(sums):
        assert found.tolist() == [k, k, k]
