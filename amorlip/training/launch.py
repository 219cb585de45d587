"""Starting the ranks of a run on this machine, with an exit code that says whether it may be started again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
from typing import TYPE_CHECKING

from amorlip.training.distributed import RENDEZVOUS
from amorlip.training.signals import EXIT_CODE, SIGNALS

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import PContext

LOOPBACK = "lo"
"""Network interface for gloo, where one of this name exists. Without it gloo looks up this machine's host name."""


def is_rank() -> bool:
    """True in a process that was started as one of several ranks, here or by torchrun."""
    return "WORLD_SIZE" in os.environ


def launch(ranks: int, command: list[str]) -> int:
    """Run `command` in `ranks` processes of this machine and return the exit code of the whole.

    0; or 75 if a rank stopped with a checkpoint after a signal; or else the code of the first rank that failed, after
    which the others are ended. Signals are passed on to the ranks; after SIGTERM and SIGINT they have half a minute.

    The ranks find each other through a file: torchrun's TCP store would look up the name of the loopback address.
    """
    # imported here: it takes seconds, and a run of one rank does not need it
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # its default would end this process, and the ranks with it
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="amorlip-") as folder:
        environments = {number: _environment(number, ranks, folder) for number in range(ranks)}
        arguments = dict.fromkeys(environments, tuple(command[1:]))
        try:
            processes = start_processes(
                "amorlip", command[0], arguments, environments, DefaultLogsSpecs(log_dir=folder)
            )
            _pass_on(processes)
            try:
                result = processes.wait(period=0.1)
            except SignalException as error:
                processes.close(error.sigval)
                raise
        except SignalException as error:
            return EXIT_CODE if error.sigval in SIGNALS else 128 + error.sigval
    failures = result.failures.values() if result else ()
    codes = [failure.exitcode for failure in sorted(failures, key=lambda failure: failure.timestamp)]
    return EXIT_CODE if EXIT_CODE in codes else next((code for code in codes if code > 0), int(bool(codes)))


def _pass_on(processes: PContext) -> None:
    """Let the ranks get SIGURG and SIGUSR1 too: where Slurm tracks processes by cgroups, only this process gets them.

    A rank that gets one twice only notes it again.
    """

    def pass_on(number: int, _frame: object) -> None:
        for pid in processes.pids().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    for number in (signal.SIGURG, signal.SIGUSR1):
        signal.signal(number, pass_on)


def _environment(rank: int, ranks: int, folder: str) -> dict[str, str]:
    """Environment variables of a rank, in addition to those of this process."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, RENDEZVOUS: f"file://{folder}/rendezvous"}
    if LOOPBACK in (name for _, name in socket.if_nameindex()):
        variables["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK)
    return {name: str(value) for name, value in variables.items()}
