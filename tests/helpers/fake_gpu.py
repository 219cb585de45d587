"""A GPU that is not there: tensors live and compute on the CPU, but each has a device of its own.

PyTorch's FakeTensorMode has no backward pass for `cuda` without a GPU. Here a step really runs, forward and backward,
and two kinds of faults are found: operators whose tensors are on two devices, and places where the host would wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.helpers.waits import READS, selects_by_mask

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
COPIES = ("copy_", "_foreach_copy_")


class DeviceMismatch(Exception):
    """An operator got tensors of two devices."""


class Devices:
    """Which tensors are on the GPU, by their storage."""

    def __init__(self) -> None:
        # the references are weak, but keep an address from being used again
        self.known: dict[int, tuple[StorageWeakRef, torch.device]] = {}

    def of(self, tensor: torch.Tensor) -> torch.device:
        return self.known.get(tensor.untyped_storage()._cdata, (None, CPU))[1]

    def put(self, found: Any, device: torch.device) -> Any:
        """Note that all tensors in `found` are on `device`."""
        if len(self.known) > 100_000:
            self.known = {key: value for key, value in self.known.items() if not value[0].expired()}
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.known[storage._cdata] = StorageWeakRef(storage), device
        return found


class Calls(TorchFunctionMode):
    """What Python asks for: `device=cuda` in calls, and a tensor's device."""

    def __init__(self, devices: Devices, waits: list[str]) -> None:
        super().__init__()
        self.devices, self.waits = devices, waits

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        owner = getattr(function, "__self__", None)
        if owner is torch.Tensor.device:
            return self.devices.of(args[0])
        if owner is torch.Tensor.is_cuda:
            return self.devices.of(args[0]) == GPU
        name = getattr(function, "__name__", "")
        if name in ("tolist", "numpy") and self.devices.of(args[0]) == GPU:
            self.waits.append(name)
        if function is torch.device or name == "_parse_to":
            return function(*args, **kwargs)
        asked = [one for one in (*args, *kwargs.values()) if _is_gpu(one)]
        if name == "cpu" or any(_is_cpu(one) for one in (*args, *kwargs.values())):
            return self._copied(function, args, kwargs, CPU)
        if not asked:
            return function(*args, **kwargs)
        return self._copied(function, _on_cpu(args), _on_cpu(kwargs), GPU)

    def _copied(self, function: Any, args: Any, kwargs: Any, device: torch.device) -> Any:
        """The call with its result on `device`."""
        source = args[0] if args and isinstance(args[0], torch.Tensor) else None
        moves = source is not None and self.devices.of(source) != device
        name = getattr(function, "__name__", "")
        if not moves and name in ("to", "cpu", "cuda"):
            return function(*args, **kwargs)
        if moves and name in ("to", "cpu", "cuda"):
            if not (kwargs.get("non_blocking") or (device == GPU and source.is_pinned())):
                self.waits.append(f"{name} {device.type}")
            source = source.clone()  # on another device it is another tensor
            args = (source, *args[1:])
        elif device == GPU and name == "tensor":
            self.waits.append("tensor from the host")
        return self.devices.put(function(*args, **kwargs), device)


class Operators(TorchDispatchMode):
    """What PyTorch computes."""

    def __init__(self, devices: Devices, waits: list[str]) -> None:
        super().__init__()
        self.devices, self.waits = devices, waits

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        on_gpu = [self.devices.of(tensor) == GPU for tensor in tensors]
        if any(on_gpu):
            self._check(name, tensors, on_gpu, args)
        result = function(*args, **kwargs)
        if name in COPIES or function._schema.is_mutable:
            return result
        return self.devices.put(result, GPU if any(on_gpu) else CPU)

    def _check(self, name: str, tensors: list[torch.Tensor], on_gpu: list[bool], args: Any) -> None:
        if name in READS or selects_by_mask(name, args):
            self.waits.append(name)
        elif name in COPIES:
            if not all(on_gpu) and not (len(args) > 2 and args[2]):
                self.waits.append(name)
        elif any(
            not there and (one.ndim or name.startswith("_fused")) for one, there in zip(tensors, on_gpu, strict=True)
        ):
            places = ", ".join(
                f"{tuple(one.shape)} {'cuda' if there else 'cpu'}" for one, there in zip(tensors, on_gpu, strict=True)
            )
            raise DeviceMismatch(f"{name}: {places[:500]}")


def _is_gpu(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith("cuda")
    return isinstance(value, torch.device) and value.type == "cuda"


def _is_cpu(value: Any) -> bool:
    return value == "cpu" if isinstance(value, str) else isinstance(value, torch.device) and value.type == "cpu"


def _on_cpu(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: CPU if _is_gpu(value) else value for key, value in values.items()}
    return tuple(CPU if _is_gpu(value) else value for value in values)


@contextmanager
def fake_gpu() -> Iterator[list[str]]:
    """Within the block there is a GPU; yields a list that gets each operator for whose result the host would wait.

    Raises DeviceMismatch where an operator's tensors are on two devices. A tensor of the host with one value is
    allowed, as PyTorch allows it.
    """
    devices, waits = Devices(), []
    nothing = lambda *_, **__: None  # noqa: E731
    events = lambda **_: SimpleNamespace(record=nothing, elapsed_time=lambda _: 1.0)  # noqa: E731
    streams = lambda *_: SimpleNamespace(wait_stream=nothing)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        group = torch._C._group_tensors_by_device_and_dtype

        def grouped(lists: Any, with_indices: bool = False) -> Any:
            """With the tensors' own device in place of the one that C++ sees."""
            found = group(lists, with_indices)
            return {(devices.of(value[0][0][0]), key[1]): value for key, value in found.items()}

        patch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
        patch.setattr(torch.cuda, "Event", events)
        patch.setattr(torch.cuda, "Stream", streams)
        patch.setattr(torch.cuda, "current_stream", streams)
        patch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
        patch.setattr(torch.Tensor, "record_stream", nothing)
        for name in ("synchronize", "set_device", "empty_cache", "reset_peak_memory_stats"):
            patch.setattr(torch.cuda, name, nothing)
        for name in ("max_memory_allocated", "memory_allocated", "max_memory_reserved"):
            patch.setattr(torch.cuda, name, lambda *_: 0)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch.accelerator, "current_stream", lambda *_: SimpleNamespace(is_capturing=lambda: False))
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "get_device_name", lambda *_: "fake GPU")
        with Calls(devices, waits), Operators(devices, waits):
            yield waits
