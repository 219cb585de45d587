"""What ranks exchange, between two forked processes."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import numpy as np
import torch
from torch.distributed import distributed_c10d

from amorlip.training import rng
from amorlip.training.distributed import RENDEZVOUS, World, join


def exchange(world: World) -> dict:
    rng.seed(world.rank)
    own = {**rng.capture(), "more": "x" * (world.rank + 1) * 1000}
    return {"gathered": world.gather(own), "main": world.from_main(7 + world.rank), "own": own}


def rank(number: int, folder: Path) -> int:
    """The process id of a forked rank, which writes what it got to a file of its number."""
    if child := os.fork():
        return child
    try:
        os.environ |= {"WORLD_SIZE": "2", "RANK": str(number), RENDEZVOUS: f"file://{folder}/store"}
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        setattr(distributed_c10d, "_unpickler", None)  # noqa: B010 (PyTorch's own exchange of objects needs it)
        with join(2, threads=1) as world:
            torch.save(exchange(world), folder / f"{number}.pt")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def test_ranks_exchange_states_without_pickled_code(tmp_path):
    children = [rank(number, tmp_path) for number in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    first, second = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    assert first["main"] == second["main"] == 7
    for found in (first, second):
        for state, expected in zip(found["gathered"], (first["own"], second["own"]), strict=True):
            assert torch.equal(state["torch"], expected["torch"]) and state["python"] == expected["python"]
            assert state["more"] == expected["more"] and np.array_equal(state["numpy"]["state"]["key"],
                                                                        expected["numpy"]["state"]["key"])  # fmt: skip


def test_one_rank_exchanges_nothing():
    world = World(torch.device("cpu"))
    assert world.gather("a") == ["a"] and world.from_main(3) == 3
