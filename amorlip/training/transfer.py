"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from amorlip.loader.loader import Batch


def to_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on `device`; on a CPU nothing happens.

    Copies run on a stream of their own. As the host is ahead of the GPU, which nothing in a step waits for, a batch is
    copied while the GPU still computes on the one before; the step's stream waits for its own batch alone. For that
    the loader's tensors lie in pinned memory.
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
            tensor.record_stream(step)  # its memory is not reused before the step has read it
        yield copy
