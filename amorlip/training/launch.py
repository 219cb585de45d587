"""Starting the ranks of a run on this machine, with an exit code that says whether it may be started again."""

from __future__ import annotations

import logging
import os
import signal
import uuid

from amorlip.training.signals import EXIT_CODE

SCHEDULER_SIGNALS = (signal.SIGTERM, signal.SIGURG, signal.SIGUSR1)


def is_rank() -> bool:
    """True in a process that was started as one of several ranks."""
    return "WORLD_SIZE" in os.environ


def launch(ranks: int, command: list[str]) -> int:
    """Run `command` in `ranks` processes, as `torchrun --standalone` does, and return the exit code of the whole.

    torchrun turns every failure into 1. Here it is 0, or 75 if a rank left with a checkpoint after a signal, or else
    the code of the first rank that failed. SIGTERM is handed on to the ranks, which then have half a minute; SIGURG and
    SIGUSR1, which a scheduler sends to all processes of a job, are left to them.
    """
    # PyTorch is imported here: it takes seconds, and one rank alone needs no launcher
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        codes = [failure.exitcode for _, failure in sorted(error.failures.items(), key=lambda item: item[1].timestamp)]
        return EXIT_CODE if EXIT_CODE in codes else next((code for code in codes if code > 0), 1)
    except SignalException as error:
        return EXIT_CODE if error.sigval in SCHEDULER_SIGNALS else 128 + error.sigval
    return 0
