"""The miniature chain and a loopback server, from the helpers of the other tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
sys.path.insert(0, str(Path(__file__).parent))

import chain as chains

from tests.data.conftest import server  # noqa: F401


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> chains.Chain:
    """Artwork and shards of a miniature study; tests that change its files work on a copy."""
    return chains.Chain(tmp_path_factory.mktemp("study") / "chain").build()


@pytest.fixture(scope="session")
def chain(inputs: chains.Chain, tmp_path_factory: pytest.TempPathFactory) -> chains.Chain:
    """The study with a task, a trained run and its evaluation."""
    made = inputs.copy(tmp_path_factory.mktemp("finished") / "chain")
    chains.finish(made.tasks_stage(made.task))
    chains.finish(made.train_stage(made.run, epoch_tasks=["openmoji"]))
    chains.finish(made.evaluate_stage(made.evaluation))
    return made
