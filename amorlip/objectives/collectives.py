"""Exchange between ranks. With one rank nothing is exchanged and the argument is returned.

No function here is differentiable. Each rank computes the whole gradient of its own features (see `shared_loss`), so
the backward pass needs no communication. Why: docs/decisions/2026-11-22-distributed-objectives.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor


def gather(tensor: Tensor, world_size: int, dim: int = 0) -> Tensor:
    """Concatenate the ranks' tensors, all of one shape, along `dim` in the order of ranks; detached."""
    tensor = tensor.detach()
    if world_size == 1:
        return tensor
    joined = tensor.new_empty((world_size * tensor.shape[0], *tensor.shape[1:]))
    dist.all_gather_single(joined, tensor.contiguous())
    # all_gather joins along the first dimension only
    return joined if dim == 0 else torch.cat(joined.chunk(world_size), dim=dim)


def total(tensor: Tensor, world_size: int) -> Tensor:
    """The sum of the ranks' tensors; detached."""
    tensor = tensor.detach()
    if world_size == 1:
        return tensor
    added = tensor.clone()
    dist.all_reduce(added)
    return added


def mean(tensor: Tensor, world_size: int) -> Tensor:
    """The mean of the ranks' tensors; detached."""
    return tensor.detach() if world_size == 1 else total(tensor, world_size) / world_size


def average_gradients(parameters: Iterable[Tensor], world_size: int) -> None:
    """Replace each parameter's gradient by its mean over the ranks, in one exchange."""
    if world_size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]), world_size)
    parts = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


def others(tensor: Tensor, rank: int, world_size: int) -> Iterator[Tensor]:
    """The other ranks' tensors, all of one shape, one at a time around a ring; detached."""
    tensor = tensor.detach().contiguous()
    for _ in range(world_size - 1):
        received = torch.empty_like(tensor)
        exchange = [
            dist.P2POp(dist.isend, tensor, (rank + 1) % world_size),
            dist.P2POp(dist.irecv, received, (rank - 1) % world_size),
        ]
        # both at once: a blocking send before each receive would deadlock the ring
        for request in dist.batch_isend_irecv(exchange):
            request.wait()
        yield received
        tensor = received
