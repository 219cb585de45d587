"""How OpenCLIP's towers run in training: attention that knows its mask, recomputed activations, compiled code.

Weights, the names in the state dict and OpenCLIP's classes stay as they are.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from open_clip.modified_resnet import Bottleneck, ModifiedResNet
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.utils.checkpoint import checkpoint

from amorlip.common.errors import one_line

logger = logging.getLogger(__name__)

CACHE = "TORCHINDUCTOR_CACHE_DIR"
AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What the towers compute in under the recipe's `precision`; None: float32, as always on a CPU."""
    return AUTOCAST.get(precision) if device.type == "cuda" else None


def wants_compilation(choice: str, device: torch.device) -> bool:
    """The recipe's `compile` on this device: `auto` is for GPUs, as a short run on a CPU would mostly compile."""
    return choice == "always" or (choice == "auto" and device.type == "cuda")


# ---------------------------------------------------------------- attention


def mark_causal_attention(model: nn.Module) -> None:
    """Tell the text tower's attention layers, in training, that their mask is the causal one.

    OpenCLIP passes it as a matrix, which the flash kernel does not take; with PyTorch's `is_causal` beside it none is
    read, and the blocks above the diagonal are skipped. Towers with other masks (padding) are left as they are.
    """
    tower = model if hasattr(model, "transformer") else model.text
    if _is_causal(getattr(tower, "attn_mask", None)):
        for module in tower.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.register_forward_pre_hook(_add_causal_flag, with_kwargs=True)


def _is_causal(mask: Tensor | None) -> bool:
    if mask is None or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    return torch.equal(mask, torch.full_like(mask, -math.inf).triu(1))


def _add_causal_flag(attention: nn.Module, positional: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    mask = named.get("attn_mask")
    # A padding mask that was added to the causal one has a row a head and text.
    if attention.training and mask is not None and mask.ndim == 2:
        named = {**named, "is_causal": True}
    return positional, named


# ---------------------------------------------------------------- activations


def recompute_activations(model: nn.Module) -> None:
    """Keep of each block its input only, and compute the rest again in the backward pass.

    OpenCLIP has this for transformers, not for its ResNets, whose running statistics must not move twice.
    """
    model.set_grad_checkpointing(True)
    if isinstance(model.visual, ModifiedResNet):
        for block in model.visual.modules():
            if isinstance(block, Bottleneck):
                block.forward = partial(_recomputed, block, block.forward)


def _recomputed(block: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # the compiler moves them once, and knows no such contexts
        return checkpoint(forward, x, use_reentrant=False)
    contexts = lambda: (nullcontext(), frozen_running_statistics(block))  # noqa: E731
    return checkpoint(forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


@contextmanager
def frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm layers in training mode use their batch's statistics as ever, but leave the running ones alone.

    These still take part, with no weight: a recomputed block must save the same tensors as before.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


# ---------------------------------------------------------------- compilation


def compile_into(folder: Path) -> None:
    """Keep what is compiled in `folder`, so that a run that is started again compiles nothing.

    Left alone where the user has chosen a place (TORCHINDUCTOR_CACHE_DIR). PyTorch's own, which does not outlast a
    restart of the machine, is no choice; it is in the environment as soon as parts of PyTorch are imported.
    """
    if os.environ.get(CACHE) in (None, default_cache_dir()):
        os.environ[CACHE] = str(folder.absolute())


class Compiled:
    """A function that is compiled when first called; if that fails, a line says so and it stays as it is.

    Compilation ends before anything runs, the backward pass's included, so that nothing is done twice.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.plain = function
        self.function = torch.compile(function, dynamic=False)

    def __call__(self, tensor: Tensor) -> Tensor:
        """`function(tensor)`."""
        if self.function is self.plain:
            return self.plain(tensor)
        try:
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                return self.function(tensor)
        except torch._dynamo.exc.TorchDynamoException as error:
            logger.warning("%s could not be compiled and runs as it is: %s", self.plain.__name__, one_line(error))
            self.function = self.plain
            return self.plain(tensor)
