"""Starting the ranks of a run on this machine, with an exit code that says whether it may be started again."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile

from amorlip.training.distributed import MEETING
from amorlip.training.signals import EXIT_CODE, SIGNALS

LOOPBACK = "lo"
"""The interface that gloo is given, where there is one of this name: it would else look up this machine's name."""


def is_rank() -> bool:
    """True in a process that was started as one of several ranks."""
    return "WORLD_SIZE" in os.environ


def launch(ranks: int, command: list[str]) -> int:
    """Run `command` in `ranks` processes of this machine and return the exit code of the whole.

    0, or 75 if a rank left with a checkpoint after a signal, or else the code of the first rank that failed; the others
    are ended then. SIGTERM and SIGINT are handed on to the ranks, which then have half a minute; SIGURG and SIGUSR1,
    which a scheduler sends to all processes of a job, are left to them.

    The ranks meet in a file. torchrun's TCP store would ask the resolver for the name of the loopback address.
    """
    # PyTorch's launcher is imported here: it takes seconds, and one rank alone needs none
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="amorlip-") as folder:
        environments = {number: _environment(number, ranks, folder) for number in range(ranks)}
        arguments = dict.fromkeys(environments, tuple(command[1:]))
        try:
            processes = start_processes(
                "amorlip", command[0], arguments, environments, DefaultLogsSpecs(log_dir=folder)
            )
            try:
                failures = processes.wait(period=0.1).failures.values()
            except SignalException as error:
                processes.close(error.sigval)
                raise
        except SignalException as error:
            return EXIT_CODE if error.sigval in SIGNALS else 128 + error.sigval
    codes = [failure.exitcode for failure in sorted(failures, key=lambda failure: failure.timestamp)]
    return EXIT_CODE if EXIT_CODE in codes else next((code for code in codes if code > 0), int(bool(codes)))


def _environment(rank: int, ranks: int, folder: str) -> dict[str, str]:
    """What a rank finds in its environment beside what this process has."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, MEETING: f"file://{folder}/meeting"}
    if LOOPBACK in (name for _, name in socket.if_nameindex()):
        variables["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK)
    return {name: str(value) for name, value in variables.items()}
