"""The processes (ranks) of one run: one, or several that `launch` or torchrun started.

Every function works the same with one process: nothing is exchanged then, and there is no process group.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from amorlip.common import devices, malloc
from amorlip.common.errors import AmorlipError, one_line
from amorlip.training import signals
from amorlip.training.ranks import RENDEZVOUS, PeerLost

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others in an exchange: some compile their first step for minutes longer."""
BEAT_S = 10.0
"""Between two signs of life of a rank that works while others wait."""
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out waiting", re.IGNORECASE)
"""In the messages of gloo and NCCL about ranks that have ended or do not answer; gloo's are plain RuntimeErrors."""

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's place among those of the run, and its device."""

    device: torch.device
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among those of this machine."""

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

    def while_others_wait(self, work: Callable[[], T], *, here: bool) -> T | None:
        """What `work` returns, on the ranks where `here` is true; None on the others, which wait for the end of it.

        For any time, as long as those that work give signs of life: not if one ends, or is stopped for longer than
        TIMEOUT. All ranks call this at once.
        """
        if self.size == 1:
            return work() if here else None
        result = None
        if here:
            beat = _Beat(self)
            result = work()
            beat.end()
        while self.largest(0):
            pass
        return result

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

    def gather_tensors(self, own: Tensor) -> list[Tensor]:
        """The ranks' tensors, by rank, of one type and any shapes, on this rank's device; GPUs exchange by NCCL."""
        if self.size == 1:
            return [own]
        shapes = self.gather(list(own.shape))
        counts = [math.prod(shape) for shape in shapes]
        padded = own.new_zeros(max(counts))
        padded[: own.numel()] = own.flatten()
        parts = [torch.empty_like(padded) for _ in counts]
        if max(counts):
            dist.all_gather(parts, padded)
        return [part[:count].view(shape) for part, count, shape in zip(parts, counts, shapes, strict=True)]

    def from_main(self, value: int) -> int:
        """Rank 0's value."""
        return int(self.tensor_from_main(torch.tensor(value)))

    def tensor_from_main(self, tensor: Tensor) -> Tensor:
        """A copy of rank 0's tensor, which has the same shape on all ranks."""
        tensor = tensor.clone(memory_format=torch.contiguous_format)
        if self.size > 1:
            dist.broadcast(tensor, 0)
        return tensor


@contextmanager
def join(ranks: int, threads: int, precision: str = "float32") -> Iterator[World]:
    """Take part in a run of `ranks` processes with `threads` CPU threads each, whose towers have this `precision`.

    The device is this rank's GPU, or the CPU where there is none. On a CPU a run's results can be reproduced bit for
    bit. Raises AmorlipError if the wrong number of processes was started, there are fewer GPUs than processes, or
    PyTorch cannot use a GPU that is there.

    Several ranks end together, or the one that fails leaves without a word to the others, which may be waiting inside
    an exchange: ending the process group would wait for them. Their exchange fails, and here it becomes PeerLost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != ranks:
        raise AmorlipError(
            f"the recipe has ranks: {ranks}, but {size} were started; use torchrun --nproc-per-node {ranks}"
        )
    rank, device = int(os.environ.get("RANK", "0")), _device()
    _set_up(device, threads, precision)
    if size > 1:
        _init_process_group(device, rank, size)
    try:
        yield World(device, rank, size, int(os.environ.get("LOCAL_RANK", "0")))
    except signals.Interrupted:  # all ranks, after the same step
        _end_process_group(size)
        raise
    except RuntimeError as error:
        if size > 1 and _is_lost(error):
            reason = "lost another rank, which has ended or does not answer; its own message, if any, says why"
            raise PeerLost(f"rank {rank}: {reason} ({one_line(error)})") from error
        raise
    _end_process_group(size)


def _end_process_group(size: int) -> None:
    if size > 1:
        dist.destroy_process_group()


def _is_lost(error: BaseException | None) -> bool:
    """Whether an exchange has failed, as PyTorch tells it: directly, or as the cause of the backward pass' error."""
    while error is not None:
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and LOST.search(str(error))):
            return True
        error = error.__cause__
    return False


class _Beat:
    """Signs of life to the ranks that wait, from a thread, until `end`."""

    def __init__(self, world: World) -> None:
        self.world, self.done = world, threading.Event()
        self.error: RuntimeError | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.done.wait(BEAT_S):
                self.world.largest(1)
        except RuntimeError as error:
            self.error = error

    def end(self) -> None:
        """Stop; raises what the exchange has raised."""
        self.done.set()
        self.thread.join()
        if self.error is not None:
            raise self.error


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
    if devices.best().type == "cpu":
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise AmorlipError(f"this machine shows {count} GPUs, too few for local rank {index}; start one rank per GPU")
    return torch.device("cuda", index)


def _set_up(device: torch.device, threads: int, precision: str) -> None:
    torch.set_num_threads(threads)
    devices.set_float32_precision(precision if device.type == "cuda" else "float32")
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
