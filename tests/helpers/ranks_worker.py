"""One rank without a model, started by `launch`: it exchanges numbers until a fault.

`ranks_worker.py FAULT RANK PLACE`, with RANK `all` for a fault of all. By the command line's own handling of errors,
with short waits.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from amorlip import cli
from amorlip.common.errors import AmorlipError
from amorlip.training import distributed
from amorlip.training.ranks import RENDEZVOUS
from amorlip.training.sharing import Sharing

SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}
EXCHANGES = 20
TIMEOUT_S = 4


def fail(fault: str) -> None:
    if fault in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fault])
        time.sleep(60)
    if fault == "disk":
        raise OSError(28, "No space left on device", "checkpoint")
    raise AmorlipError("the image is damaged")


def meet() -> None:
    """Return when both ranks are here: imports may take longer on one than an exchange may."""
    here = Path(os.environ[RENDEZVOUS].removeprefix("file://"))
    places = [here.with_name(f"ready{rank}") for rank in range(2)]
    places[int(os.environ["RANK"])].touch()
    while not all(place.exists() for place in places):
        time.sleep(0.05)


def work(fault: str, rank: str, place: str) -> None:
    meet()
    distributed.TIMEOUT, distributed.BEAT_S = timedelta(seconds=TIMEOUT_S), 0.2
    with distributed.join(2, 1) as world:
        here = rank in ("all", str(world.rank))
        for number in itertools.count():
            world.largest(number)
            if here and number == EXCHANGES and place == "between":
                fail(fault)
            if number == EXCHANGES and place == "alone":  # longer than an exchange may take
                long = lambda: (time.sleep(1.5 * TIMEOUT_S), fail(fault))  # noqa: E731
                world.while_others_wait(long, here=here)
            if number == EXCHANGES and place == "shared":
                part = lambda: (time.sleep(1.5 * TIMEOUT_S), fail(fault)) if here else None  # noqa: E731
                sharing = Sharing(world)
                sharing.evaluate(lambda sharing=sharing, part=part: sharing.exchange(part))


if __name__ == "__main__":
    given, rank, place = sys.argv[1:]
    cli.run_stage = lambda *_, **__: work(given, rank, place)
    cli.main(["train", "--settings", "{}", "--shards", ".", "--output", "."])
