"""Notes where the host would wait for a GPU, in steps that run on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

READS = (
    "_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive",
)  # fmt: skip
"""Operators whose result the host must see, or whose size depends on values."""


class Waits(TorchDispatchMode):
    """Within the block, `found` collects the operators for whose result the host would wait on a GPU.

    `module`: its optimizers' step counters are on the host wherever the parameters are, so reading them is allowed.
    """

    def __init__(self, module: nn.Module | None = None) -> None:
        super().__init__()
        self.found: list[str] = []
        self.module = module

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if (name in READS or selects_by_mask(name, args)) and not any(args[0] is one for one in self._counters()):
            self.found.append(name)
        return function(*args, **(kwargs or {}))

    def _counters(self) -> list[torch.Tensor]:
        modules = [] if self.module is None else self.module.modules()
        states = [state for m in modules if getattr(m, "optimizer", None) for state in m.optimizer.state.values()]
        return [state["step"] for state in states if "step" in state]


def selects_by_mask(name: str, args: Any) -> bool:
    return name in ("index", "index_put", "index_put_") and any(
        index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )
