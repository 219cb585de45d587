"""Copying batches to the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from amorlip.loader.loader import Batch

TextEnds = Callable[[Tensor], np.ndarray]
"""Tokens (b, L) on the host → the number of positions up to each text's end token, (b,) int64."""

BatchAndEnds = tuple[Batch, np.ndarray | None]


def to_device(
    batches: Iterator[Batch], device: torch.device, text_ends: TextEnds | None = None
) -> Iterator[BatchAndEnds]:
    """The same batches on `device`, each with `text_ends` of its tokens, or None.

    Copies run on a separate stream. No step waits for the GPU, so the host is ahead of it, and a batch is copied while
    the GPU still computes the step before. The step's stream waits for its own batch only. This needs the loader's
    tensors in pinned memory.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    for batch in batches:
        ends = None if text_ends is None else text_ends(batch.tokens)
        yield batch if stream is None else _copied(batch, device, stream), ends


def _copied(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    with torch.cuda.stream(stream):
        copy = Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))
    step = torch.cuda.current_stream(device)
    step.wait_stream(stream)
    for tensor in copy:
        tensor.record_stream(step)  # the allocator must not reuse its memory before the step has read it
    return copy
