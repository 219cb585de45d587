"""Matrix multiplication of objectives and amortization networks.

On a CPU PyTorch hands float32 matrices to MKL, which does not use AVX-512 on AMD processors. oneDNN, which ships with
PyTorch, does: 2.2 times as fast on an EPYC of the Zen 5 generation, in full float32 precision. Measured in
docs/decisions/2026-11-22-onednn-matmul.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# an internal operator of PyTorch's compiler: other versions may not have it
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b without gradients: (m, k), (k, n) → (m, n)."""
    if _by_onednn(a):
        return torch.ops.mkldnn._linear_pointwise(a.detach(), b.detach().T, None, "none", [], "")
    return a.detach() @ b.detach()


def linear(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """features @ weight.T + bias, with `relu` its positive part; differentiable: (m, k), (n, k), (n,) → (m, n)."""
    if _by_onednn(features):
        return _Linear.apply(features, weight, bias, "relu" if relu else "none")
    result = functional.linear(features, weight, bias)
    return result.relu_() if relu else result


def _by_onednn(tensor: Tensor) -> bool:
    return _ONEDNN and tensor.device.type == "cpu" and tensor.dtype == torch.float32


class _Linear(torch.autograd.Function):
    """The operator does not define a gradient."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        result = torch.ops.mkldnn._linear_pointwise(features, weight, bias, activation, [], "")
        ctx.activation = activation
        ctx.save_for_backward(features, weight, result if activation == "relu" else None)
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0]
        features, weight, result = ctx.saved_tensors
        if ctx.activation == "relu":
            gradient = torch.ops.aten.threshold_backward(gradient, result, 0)
        to_features = matmul(gradient, weight) if ctx.needs_input_grad[0] else None
        to_weight = matmul(gradient.T, features) if ctx.needs_input_grad[1] else None
        return to_features, to_weight, gradient.sum(0) if ctx.needs_input_grad[2] else None, None
