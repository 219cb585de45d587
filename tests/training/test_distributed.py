"""What ranks exchange, between forked processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amorlip.training import rng
from amorlip.training.distributed import World
from tests.helpers import forked_ranks


def exchange(world: World) -> dict:
    rng.seed(world.rank)
    own = {**rng.capture(), "more": "x" * (world.rank + 1) * 1000}
    return {"gathered": world.gather(own), "main": world.from_main(7 + world.rank), "own": own}


def test_ranks_exchange_states_without_pickled_code(tmp_path):
    found = forked_ranks.run(2, tmp_path / "ranks", exchange)
    assert [rank.error for rank in found] == [None, None]
    first, second = (rank.result for rank in found)
    assert first["main"] == second["main"] == 7
    for rank in (first, second):
        for state, expected in zip(rank["gathered"], (first["own"], second["own"]), strict=True):
            assert torch.equal(state["torch"], expected["torch"]) and state["python"] == expected["python"]
            assert state["more"] == expected["more"] and np.array_equal(state["numpy"]["state"]["key"],
                                                                        expected["numpy"]["state"]["key"])  # fmt: skip


SHAPES = {"as many rows": [(2, 3), (2, 3)], "more and none": [(5, 3), (0,), (2, 3)], "none at all": [(0,), (0,)]}


def of_rank(rank: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(rank))


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_tensors_of_any_shape_reach_every_rank(tmp_path, shapes):
    def exchanged(world: World) -> list:
        own = of_rank(world.rank, shapes[world.rank])
        return [world.gather_tensors(own), world.tensor_from_main(torch.tensor([world.rank, 5])), own]

    for rank, found in enumerate(forked_ranks.run(len(shapes), tmp_path / "ranks", exchanged)):
        assert found.error is None
        gathered, main, own = found.result
        for number, (tensor, shape) in enumerate(zip(gathered, shapes, strict=True)):
            assert tensor.shape == shape and torch.equal(tensor, of_rank(number, shape))
        assert main.tolist() == [0, 5] and torch.equal(own, of_rank(rank, shapes[rank]))


def test_one_rank_exchanges_nothing():
    world = World(torch.device("cpu"))
    assert world.gather("a") == ["a"] and world.from_main(3) == 3
    own = torch.ones(2)
    assert world.gather_tensors(own)[0] is own and torch.equal(world.tensor_from_main(own), own)
