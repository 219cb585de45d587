"""What a process knows about being one of several ranks, and how it ends when something fails. No PyTorch here."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from amorlip.common.errors import AmorlipError
from amorlip.training import signals

RENDEZVOUS = "AMORLIP_RENDEZVOUS"
"""Environment variable with PyTorch's `init_method`, by which the ranks find each other; not set: torchrun's."""
LOST = 76
"""Exit code of a rank whose exchange with the others failed. The fault is another's, which has told it."""


class PeerLost(AmorlipError):
    """Another rank has ended, or does not answer. Without a message where `launch` tells what happened to the ranks."""

    def __init__(self, message: str) -> None:
        super().__init__("" if RENDEZVOUS in os.environ else message)


def is_rank() -> bool:
    """True in a process that was started as one of several ranks, by `launch` or by torchrun."""
    return "WORLD_SIZE" in os.environ


def leave(code: int) -> NoReturn:
    """End this process, which has failed: a rank at once, since the others wait for it.

    A normal end would first wait for the threads of libraries, and NCCL's for the other ranks.
    """
    if not is_rank():
        sys.exit(code)
    signals.kill_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
