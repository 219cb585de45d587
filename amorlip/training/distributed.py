"""The processes (ranks) of one run: one, or several that `launch` or torchrun started.

Every function works the same with one process: nothing is exchanged then, and there is no process group.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from amorlip.common import malloc
from amorlip.common.errors import AmorlipError

TIMEOUT = timedelta(hours=1)
"""How long ranks wait for each other: after an epoch rank 0 evaluates alone."""
RENDEZVOUS = "AMORLIP_RENDEZVOUS"
"""Environment variable with PyTorch's `init_method`, by which the ranks find each other; not set: torchrun's."""


@dataclass(frozen=True)
class World:
    """This process's place among those of the run, and its device."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def mean_(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` by its mean over the ranks; returns it."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def largest(self, value: int) -> int:
        """The largest of the ranks' values. Exchanged between CPUs, so it waits for no GPU."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def wait(self) -> None:
        """Return when all ranks have called it."""
        self.largest(0)

    def gather(self, value: Any) -> list[Any]:
        """The ranks' values, by rank, of types that `torch.load(weights_only=True)` accepts.

        PyTorch's own function for objects runs code that arrives through a socket without a password.
        """
        if self.size == 1:
            return [value]
        file = io.BytesIO()
        torch.save(value, file)
        lengths = [torch.tensor(0) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor(len(file.getvalue())))
        parts = [torch.zeros(int(max(lengths)), dtype=torch.uint8) for _ in range(self.size)]
        own = torch.zeros_like(parts[0])
        own[: len(file.getvalue())] = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
        dist.all_gather(parts, own)
        sent = [part[:length].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]
        return [torch.load(io.BytesIO(data), weights_only=True) for data in sent]

    def from_main(self, value: int) -> int:
        """Rank 0's value."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value)
        dist.broadcast(tensor, 0)
        return int(tensor)


@contextmanager
def join(ranks: int, threads: int) -> Iterator[World]:
    """Take part in a run of `ranks` processes with `threads` CPU threads each.

    The device is this rank's GPU, or the CPU where there is none. On a CPU a run's results can be reproduced bit for
    bit. Raises AmorlipError if the wrong number of processes was started, or there are fewer GPUs than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != ranks:
        raise AmorlipError(
            f"the recipe has ranks: {ranks}, but {size} were started; use torchrun --nproc-per-node {ranks}"
        )
    rank, device = int(os.environ.get("RANK", "0")), _device()
    _set_up(device, threads)
    if size > 1:
        _init_process_group(device, rank, size)
    try:
        yield World(device, rank, size)
    finally:
        if size > 1:
            dist.destroy_process_group()


def wrap(module: nn.Module, world: World, outside: list[nn.Parameter], *, static: bool) -> nn.Module:
    """`module` with gradients averaged over the ranks during the backward pass (DistributedDataParallel).

    Parameters in `outside` are not averaged here: their gradients come from the objective, outside the module's forward
    pass, and the optimizer averages them. BatchNorm uses the statistics of each rank's own batch, as in OpenCLIP. The
    running statistics that evaluation and export use are rank 0's, so buffers are not exchanged.

    `static`: every step is one forward and one backward pass through the same parameters, which PyTorch may rely on.
    With several passes, whose gradients are exchanged after the last (`no_sync`), it fails an internal assertion.
    """
    if world.size == 1:
        return module
    # DistributedDataParallel takes the parameters that require gradients when it is created
    trained = [parameter.requires_grad for parameter in outside]
    for parameter in outside:
        parameter.requires_grad_(False)
    ids = [world.device.index] if world.device.type == "cuda" else None
    wrapped = nn.parallel.DistributedDataParallel(
        module, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True, static_graph=static
    )
    for parameter, flag in zip(outside, trained, strict=True):
        parameter.requires_grad_(flag)
    return wrapped


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise AmorlipError(f"this machine shows {count} GPUs, too few for local rank {index}; start one rank per GPU")
    return torch.device("cuda", index)


def _set_up(device: torch.device, threads: int) -> None:
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # measure convolutions once: all batches have one size
        return
    torch.use_deterministic_algorithms(True)
    # Adam's moments of rare tokens decay into denormal numbers, with which a CPU is many times slower.
    torch.set_flush_denormal(True)
    # Deterministic algorithms also fill new memory, which finds bugs but takes time.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (a property unknown to type checkers)
    malloc.keep_freed()


def _init_process_group(device: torch.device, rank: int, size: int) -> None:
    rendezvous = {
        "init_method": os.environ.get(RENDEZVOUS, "env://"),
        "rank": rank,
        "world_size": size,
        "timeout": TIMEOUT,
    }
    if device.type == "cuda":
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device, **rendezvous)
    else:
        dist.init_process_group("gloo", **rendezvous)
