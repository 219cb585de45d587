"""The checks of `amorlip check gpu` as tests, on a machine with a GPU."""

from __future__ import annotations

import pytest
import torch

from amorlip.bench import gpu_check

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("check", gpu_check.CHECKS, ids=lambda check: check.__name__)
def test_check(check):
    check(gpu_check.Place(torch.device("cuda", 0)))
