"""Copying batches to the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from amorlip.loader.loader import Batch


def to_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on `device`; on a CPU nothing happens.

    Copies run on a separate stream. No step waits for the GPU, so the host is ahead of it, and a batch is copied while
    the GPU still computes the step before. The step's stream waits for its own batch only. This needs the loader's
    tensors in pinned memory.
    """
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(stream):
            copy = Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))
        step = torch.cuda.current_stream(device)
        step.wait_stream(stream)
        for tensor in copy:
            tensor.record_stream(step)  # the allocator must not reuse its memory before the step has read it
        yield copy
