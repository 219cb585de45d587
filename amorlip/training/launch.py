"""Starting a run's ranks on this machine, with an exit code that says whether the run may be started again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amorlip.common import slurm
from amorlip.common.errors import AmorlipError
from amorlip.common.slurm import ALONE, Node
from amorlip.training.ranks import LOST, RENDEZVOUS
from amorlip.training.signals import EXIT_CODE, SIGNALS

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import PContext

POLL_S = 0.1
GRACE_S = 30
"""From SIGTERM to SIGKILL, for ranks that outlive a failed one."""
ADVICE = "start again to resume from the last checkpoint"
LOOPBACK = "lo"
"""Network interface for gloo, where one of this name exists. Without it gloo looks up this machine's host name."""


def launch(ranks: int, command: list[str], node: Node = ALONE, shared: Path | None = None) -> int:
    """Run `command` in this node's part of `ranks` processes and return the exit code of the whole.

    0; or 75 if a rank stopped with a checkpoint after a signal; or else the code of the first rank that failed and has
    told why, after which the others are ended. Signals are passed on to the ranks; after SIGTERM or SIGINT they have
    half a minute, and this process ignores further ones to the end of its life.

    The ranks find each other through a file: torchrun's TCP store would look up the name of the loopback address. With
    several nodes it is in the folder `shared`, which all of them see; those after the first wait for it, without a
    limit, since the first one may wait for another process.
    Raises AmorlipError if a rank was killed, or did not answer the others.
    """
    # imported here: it takes seconds, and a run of one rank does not need it
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

    def stop_once(number: int, _frame: object) -> None:
        # Slurm may send SIGTERM twice. The second one would end the wait for ranks that still save.
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_IGN)
        raise SignalException("a signal to the launcher", signal.Signals(number))

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # its default would end this process, and the ranks with it
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="amorlip-") as folder, _rendezvous(node, Path(folder), shared) as meeting:
        here = ranks // node.count
        environments = {n: _environment(n, here * node.number + n, ranks, meeting, node) for n in range(here)}
        arguments = dict.fromkeys(environments, tuple(command[1:]))
        try:
            processes = start_processes(
                "amorlip", command[0], arguments, environments, DefaultLogsSpecs(log_dir=folder)
            )
            _pass_on(processes)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop_once)
            try:
                codes = _wait(processes)
            except SignalException as error:
                processes.close(error.sigval)
                raise
        except SignalException as error:
            return EXIT_CODE if error.sigval in SIGNALS else 128 + error.sigval
    first = here * node.number
    return EXIT_CODE if EXIT_CODE in codes.values() else _failure({first + n: code for n, code in codes.items()})


@contextlib.contextmanager
def _rendezvous(node: Node, own: Path, shared: Path | None) -> Iterator[Path]:
    """The path of the file through which the ranks find each other: in this node's `own` folder, or in `shared`."""
    if node.count == 1 or shared is None:
        yield own / "rendezvous"
        return
    path = shared / f"rendezvous-{slurm.step_name()}"
    if node.number == 0:
        shared.mkdir(parents=True, exist_ok=True)
        path.touch()
    while not path.exists():
        time.sleep(POLL_S)
    try:
        yield path
    finally:
        if node.number == 0:
            path.unlink(missing_ok=True)


def _wait(processes: Any) -> dict[int, int]:
    """Exit codes of the ranks that ended by themselves, as far as the first failure; the others are then ended.

    With SIGTERM, and half a minute later with SIGKILL: in an exchange they hear no signal.
    """
    handlers: dict[int, Any] = processes.subprocess_handlers
    while True:
        codes = {rank: code for rank, handler in handlers.items() if (code := handler.proc.poll()) is not None}
        if any(codes.values()) or len(codes) == len(handlers):
            processes.close(signal.SIGTERM, GRACE_S)
            return codes
        time.sleep(POLL_S)


def _failure(codes: dict[int, int]) -> int:
    """The code of the whole. Raises AmorlipError where no rank has told what happened."""
    failed = {rank: code for rank, code in codes.items() if code}
    told = [code for code in failed.values() if code > 0 and code != LOST]
    killed = {rank: -code for rank, code in failed.items() if code < 0}
    if told or not failed:
        return told[0] if told else 0
    if killed:
        rank, number = next(iter(killed.items()))
        hint = " (perhaps for lack of memory)" if number == signal.SIGKILL else ""
        raise AmorlipError(
            f"rank {rank} was ended by {signal.Signals(number).name}{hint}, and the others with it; {ADVICE}"
        )
    raise AmorlipError(f"a rank did not answer the others for minutes (it was stopped, or hangs); {ADVICE}")


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


def _environment(local_rank: int, rank: int, ranks: int, meeting: Path, node: Node) -> dict[str, str]:
    """Environment variables of a rank, in addition to those of this process."""
    variables = {"RANK": rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": ranks, RENDEZVOUS: meeting.absolute().as_uri()}
    if node.count == 1 and LOOPBACK in (name for _, name in socket.if_nameindex()):
        variables["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK)
    return {name: str(value) for name, value in variables.items()}
