"""One rank of `test_training.py`: trains the given runs one after another, two of them interrupted on rank 1 alone.

Each run gets a new port: a second process group on the first one's would find stale addresses.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from amorlip.config.run import Run
from amorlip.training import loop, signals
from tests.helpers import tiny  # noqa: F401  (registers the tiny architectures)

INTERRUPTED_STEP = 7


def signal_rank_1() -> None:
    """In update number 7 rank 1 gets SIGURG; the others hear of it from rank 1."""
    original = loop.Trainer._train_on

    def train_on(self, batch, step):
        if step + 1 == INTERRUPTED_STEP and self.world.rank == 1:
            os.kill(os.getpid(), signal.SIGURG)
        original(self, batch, step)

    loop.Trainer._train_on = train_on


def main(plan: Path, shards: Path, output: Path) -> None:
    settings = json.loads(plan.read_text())
    runs, ports = {name: Run(**run) for name, run in settings["runs"].items()}, iter(settings["ports"])

    def train(name: str, folder: str) -> None:
        os.environ["MASTER_PORT"] = str(next(ports))
        loop.train(runs[name], shards, output / folder, {})

    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for name in runs:
        train(name, name)
    train_on = loop.Trainer._train_on
    for name in ("clip", "fastclip"):
        signal_rank_1()
        try:
            train(name, f"resumed_{name}")
        except signals.Interrupted:
            loop.Trainer._train_on = train_on
            train(name, f"resumed_{name}")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
