"""Gloo ranks in forked processes, which have PyTorch loaded, and what each of them returned or raised."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed import distributed_c10d

from amorlip.training.distributed import RENDEZVOUS, World, join


class Ended(NamedTuple):
    """How a rank ended."""

    result: Any
    """Of types that `torch.load(weights_only=True)` accepts; None if it raised."""
    error: str | None
    """Type and message."""


def run(size: int, folder: Path, work: Callable[[World], Any]) -> list[Ended]:
    """`work` on `size` ranks with a thread each, by rank. `folder`: for their files, which are new."""
    folder.mkdir(parents=True)
    children = [_start(rank, size, folder, work) for rank in range(size)]
    for child in children:
        os.waitpid(child, 0)
    return [Ended(*torch.load(folder / f"{rank}.pt", weights_only=True)) for rank in range(size)]


def _start(rank: int, size: int, folder: Path, work: Callable[[World], Any]) -> int:
    if child := os.fork():
        return child
    try:
        os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), RENDEZVOUS: f"file://{folder}/store"}
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        setattr(distributed_c10d, "_unpickler", None)  # noqa: B010 (PyTorch's own exchange of objects needs it)
        try:
            with join(size, threads=1) as world:
                found = work(world), None
        except Exception as error:
            found = None, f"{type(error).__name__}: {error}"
        torch.save(found, folder / f"{rank}.pt")
    finally:
        os._exit(0)  # at once, as a rank of a run
