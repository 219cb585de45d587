"""The miniature chain and a loopback server, from the helpers of the other tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from amorlip.config.run import Run
from tests.helpers import chain as chains
from tests.helpers import forks, tiny


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


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "train")


@pytest.fixture(scope="session")
def tiny_run() -> Run:
    """With renewed networks, a target, the previous epoch's networks, a schedule of ρ and a logit scale's rate."""
    return tiny.make_run(
        "amorlip_l2log",
        {"t_lambda": 1, "alpha": 0.5, "rho_schedule": [{"from_fraction": 0.5, "value": -8.0}]},
        logit_scale={"lr": 1e-3, "drop": {"temperature": 0.0699, "factor": 0.3}},
        checkpoint_every_steps=2,
        log_every_steps=3,
    )


@pytest.fixture(scope="session")
def whole(tiny_run, tiny_shards, tmp_path_factory) -> Path:
    """The same run without interruption."""
    output = tmp_path_factory.mktemp("whole") / "run"
    child = forks.start(tiny_run, tiny_shards, output)
    assert forks.end(child) == 0, Path(f"{output}.err").read_text()
    return output
