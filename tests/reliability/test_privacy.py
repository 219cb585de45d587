"""Training, evaluation, reporting and downloads from local files work without a network, and try none."""

from __future__ import annotations

import sys

import pytest

from tests.helpers import chain as chains
from tests.helpers.chain import Chain
from tests.helpers.watched import alone

pytestmark = pytest.mark.slow


def test_the_witnesses_see_what_tries_to_leave(tmp_path):
    """The library that img2dataset imports asks for its newest version, unless told not to."""
    told = alone(tmp_path, [sys.executable, "-c", "import albumentations"])
    assert told["attempts"]
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(('192.0.2.1', 9))"
    told = alone(tmp_path, [sys.executable, "-S", "-c", code])  # without the audit hook
    assert told["unroutable"] == 1 and not told["attempts"]


def test_stages_stay_at_home(chain: Chain, tmp_path):
    copy = chain.copy(tmp_path / "chain")
    chains.finish(copy.urls_stage(tmp_path / "urls.parquet"))
    for stage in (
        copy.shards_stage(copy.shards), copy.train_stage(copy.run, epoch_tasks=["openmoji"]),
        copy.evaluate_stage(copy.evaluation), copy.shown_stage("table", tmp_path),
        copy.shown_stage("figure", tmp_path), copy.download_stage(tmp_path / "urls.parquet", tmp_path / "train"),
    ):  # fmt: skip
        told = alone(tmp_path, [*chains.COMMAND, *stage])
        assert (told["code"], told["attempts"], told["unroutable"]) == (0, [], 0), told


def test_several_ranks_need_no_network(inputs: Chain, tmp_path):
    told = alone(tmp_path, [*chains.COMMAND, *inputs.train_stage(tmp_path / "run", ranks=2, epochs=1)])
    assert (told["code"], told["attempts"], told["unroutable"]) == (0, [], 0), told
