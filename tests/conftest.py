"""What every test leaves as it found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def processors_as_before() -> Iterator[None]:
    """Training in this process sets the CPU to flush denormal numbers and PyTorch to deterministic algorithms."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(False)
