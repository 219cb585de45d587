"""How OpenCLIP's towers run in training: causal attention, recomputed activations, compiled code.

Weights, the names in the state dict and OpenCLIP's classes do not change.
Why and what was measured: docs/decisions/2026-11-24-compile-and-cpu-matmul.md.
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
from open_clip import CLIP
from open_clip.modified_resnet import Bottleneck, ModifiedResNet
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.utils.checkpoint import checkpoint

from amorlip.common.errors import one_line

logger = logging.getLogger(__name__)

CACHE = "TORCHINDUCTOR_CACHE_DIR"
AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The towers' type under the recipe's `precision`; None: float32, always on a CPU."""
    return AUTOCAST.get(precision) if device.type == "cuda" else None


def wants_compilation(choice: str, device: torch.device) -> bool:
    """Whether to compile on this device: `auto` means GPUs only, since a short run on a CPU would mostly compile."""
    return choice == "always" or (choice == "auto" and device.type == "cuda")


def skips_padding(device: torch.device) -> bool:
    """Whether texts are computed up to their end tokens only: on GPUs.

    Models are larger there, with a longer context, and rounding differs between runs anyway. In the demo, on a CPU, a
    step would gain 5% at most.
    """
    return device.type == "cuda"


# ---------------------------------------------------------------- attention


def mark_causal_attention(model: nn.Module) -> None:
    """Tell the text tower's attention layers, in training, that their mask is causal.

    OpenCLIP passes the mask as a matrix, which the flash kernel does not accept. With PyTorch's `is_causal` as well the
    matrix is not read, and the blocks above the diagonal are skipped. Towers with other masks (padding) do not change.
    """
    tower = text_tower(model)
    if is_causal(getattr(tower, "attn_mask", None)):
        for module in tower.get_submodule("transformer").modules():
            if isinstance(module, nn.MultiheadAttention):
                module.register_forward_pre_hook(_add_causal_flag, with_kwargs=True)


def text_tower(model: nn.Module) -> nn.Module:
    """CLIP is its own text tower; CustomTextCLIP has one."""
    return model if hasattr(model, "transformer") else model.get_submodule("text")


def is_causal(mask: Tensor | None) -> bool:
    """Whether an additive mask (L, L) hides from each position those after it, and nothing else."""
    if mask is None or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    return torch.equal(mask, torch.full_like(mask, -math.inf).triu(1))


def _add_causal_flag(attention: nn.Module, positional: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    mask = named.get("attn_mask")
    # with a padding mask added to the causal one it has three dimensions: (heads · texts, L, L)
    if attention.training and mask is not None and mask.ndim == 2:
        named = {**named, "is_causal": True}
    return positional, named


# ---------------------------------------------------------------- activations


def recompute_activations(model: CLIP) -> None:
    """Keep only each block's input, and compute the rest again in the backward pass.

    OpenCLIP has this for transformers, but not for its ResNets, whose running statistics must not be updated twice.
    """
    model.set_grad_checkpointing(True)
    if isinstance(model.visual, ModifiedResNet):
        for block in model.visual.modules():
            if isinstance(block, Bottleneck):
                block.forward = partial(_recomputed, block, block.forward)


def _recomputed(block: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # the compiler updates them once, and does not support such contexts
        return checkpoint(forward, x, use_reentrant=False)
    contexts = lambda: (nullcontext(), frozen_running_statistics(block))  # noqa: E731
    return checkpoint(forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


@contextmanager
def frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm layers in training mode use their batch's statistics but do not change the running ones.

    Those are still passed, with momentum 0: a recomputed block must save the same tensors as the first time.
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


class RunningStatistics:
    """BatchNorm's running statistics, which a step that is skipped must not change.

    Under float16 a tower may overflow, and one batch that is not finite would spoil them for good.
    """

    def __init__(self, module: nn.Module) -> None:
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        buffers = [buffer for norm in norms for buffer in norm.buffers()]
        types = dict.fromkeys(buffer.dtype for buffer in buffers)
        self.groups = [[buffer for buffer in buffers if buffer.dtype == dtype] for dtype in types]

    def flat(self) -> list[Tensor]:
        """A copy, one tensor for each type."""
        return [torch.cat([buffer.flatten() for buffer in group]) for group in self.groups]

    @torch.no_grad()
    def restore(self, copy: list[Tensor], *, unless: Tensor) -> None:
        """Put back what `flat` returned, unless the condition () is true; the host does not wait for it."""
        for group, now, before in zip(self.groups, self.flat(), copy, strict=True):
            parts = torch.where(unless, now, before).split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [part.view_as(b) for part, b in zip(parts, group, strict=True)])


# ---------------------------------------------------------------- compilation


def compile_into(folder: Path) -> None:
    """Keep compiled code in `folder`, so that a run that is started again does not compile.

    No effect if the user has set TORCHINDUCTOR_CACHE_DIR. PyTorch sets it, too, as soon as parts of it are imported: to
    a temporary folder that does not survive a reboot, which is therefore replaced.
    """
    if os.environ.get(CACHE) in (None, default_cache_dir()):
        os.environ[CACHE] = str(folder.absolute())
    # PyTorch keeps these in a predictable folder of /tmp whatever the cache is: others could alter the code there.
    # Without them a compilation on a CPU takes two to three times as long.
    from torch._inductor import codecache  # slow to import

    headers = Path(os.environ[CACHE]) / "precompiled_headers"
    codecache._HEADER_DIR, codecache._HEADER_LOCK_DIR = str(headers), str(headers / "locks")


class Compiled:
    """A function that is compiled at its first call; if that fails, it is logged and the plain function is used.

    Forward and backward pass are compiled before anything runs, so that nothing runs twice.
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
            logger.warning("%s could not be compiled and runs uncompiled: %s", self.plain.__name__, one_line(error))
            self.function = self.plain
            return self.plain(tensor)
