from __future__ import annotations

import pytest
import torch

from amorlip.common import matmul
from amorlip.objectives import amorlip_networks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (7, 5, 3), (64, 48, 80)])
def test_matmul_of_any_layout(dtype, m, k, n):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(m, k, generator=generator, dtype=torch.float64)
    b = torch.randn(k, n, generator=generator, dtype=torch.float64)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    for left in (a.to(dtype), a.T.to(dtype).contiguous().T):
        for right in (b.to(dtype), b.T.to(dtype).contiguous().T):
            found = matmul.matmul(left, right)
            assert found.dtype == dtype
            assert float((found - a @ b).norm() / (a @ b).norm()) < tolerance


def test_float32_is_not_reduced():
    """bfloat16 or TF32 would be off by more than 1e-4."""
    a, b = torch.randn(256, 256).double(), torch.randn(256, 256).double()
    assert float((matmul.matmul(a.float(), b.float()) - a @ b).norm() / (a @ b).norm()) < 2e-6


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_and_its_gradients(with_bias, relu):
    generator = torch.Generator().manual_seed(0)
    shapes = [(9, 5), (4, 5), (4,)][: 2 + with_bias]
    exact = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    rough = [tensor.detach().float().requires_grad_() for tensor in exact]
    weight = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    expected = exact[0] @ exact[1].T + (exact[2] if with_bias else 0.0)
    expected = expected.clamp_min(0) if relu else expected
    found = matmul.linear(*rough, relu=relu)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(matmul.linear(*exact, relu=relu), expected)
    ours = torch.autograd.grad((found * weight.float()).sum(), rough)
    theirs = torch.autograd.grad((expected * weight).sum(), exact)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_size_of_chunks_changes_nothing(monkeypatch):
    image, text = torch.randn(2, 50, 8).double().unbind(0)
    log_z = torch.randn(2, 50).double()
    outcomes = []
    for chunk in (2048, 7):
        monkeypatch.setattr(amorlip_networks, "CHUNK", chunk)
        networks = amorlip_networks.AmortizationNetworks(8, 8, lr=1e-2, grad_clip=1.0, world_size=1).double()
        networks.reinitialize(0)
        networks.fit(image, text, log_z, lambda a, b: (a - b).square(), steps=3)
        outcomes.append(networks.estimate(networks.online, image, text))
    torch.testing.assert_close(*outcomes, rtol=1e-10, atol=1e-12)
