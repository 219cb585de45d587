"""How the ranks of a run share an evaluation, and how it ends on all of them if it fails on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import torch
from torch import Tensor, nn

from amorlip.training.distributed import World

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What came of some work: its result, or what it raised."""

    result: Any = None
    error: Exception | None = None


class Sharing:
    """This rank's part in evaluations that all ranks begin at once: an `amorlip.evaluation.share.Share`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._told = False
        """Whether the other ranks know of what is raised now, or have ended."""

    @property
    def rank(self) -> int:
        """This rank's number."""
        return self.world.rank

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self.world.size

    def evaluate(self, work: Callable[[], T]) -> T:
        """What `work` returns, which calls `exchange` as often on each rank.

        If it raises on any rank, it ends on all: the first of them raises its error, so that a fault that all ranks
        find is told once. The others wait until that rank has left, and raise what a lost rank raises.
        """
        if self.size == 1:
            return work()
        outcome = _tried(work)
        if outcome.error is not None and self._told:
            raise outcome.error
        return self._meet(lambda: outcome)

    def exchange(self, work: Callable[[], Tensor]) -> list[Tensor]:
        """What `work` returns on each rank, by rank, once the last one has it. They may take any time."""
        own = self._meet(lambda: _tried(work))
        with self._exchanging():
            return self.world.gather_tensors(own)

    def _meet(self, work: Callable[[], Outcome]) -> Any:
        """The result of `work`, if no rank has an error."""
        with self._exchanging():
            outcome = cast(Outcome, self.world.while_others_wait(work, here=True))
            failed = self.world.gather(outcome.error is not None)
            if outcome.error is not None and failed.index(True) == self.rank:
                raise outcome.error
            if any(failed):
                self._wait_for_end()
        return outcome.result

    @contextmanager
    def _exchanging(self) -> Iterator[None]:
        self._told = True
        yield
        self._told = False  # not if the block raises

    def _wait_for_end(self) -> NoReturn:
        # if this rank left first, the launcher would end the one that is about to tell what happened
        while True:
            self.world.largest(0)

    @contextmanager
    def buffers_of_main(self, model: nn.Module) -> Iterator[None]:
        """Within the block each rank's model has rank 0's buffers, such as BatchNorm's running statistics.

        Only rank 0's are evaluated and exported (see `distributed.wrap`). Afterwards each rank has its own back.
        """
        if self.size == 1:
            yield
            return
        buffers = list(model.buffers())
        own = [buffer.clone() for buffer in buffers]
        with torch.no_grad():
            for buffer in buffers:
                buffer.copy_(self.world.tensor_from_main(buffer))
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in zip(buffers, own, strict=True):
                    buffer.copy_(before)


def _tried(work: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(result=work())
    except Exception as error:
        return Outcome(error=error)
