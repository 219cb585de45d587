"""What every test finds, and leaves as it found it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.web import server

__all__ = ["server"]

# albumentations, which img2dataset imports, looks up its newest version on the network unless this is set.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# A shell's background jobs ignore it, and so would this process and those that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# `nohup` ignores it likewise.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def processors_as_before() -> Iterator[None]:
    """Training in this process sets the CPU to flush denormal numbers and PyTorch to deterministic algorithms."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(False)
