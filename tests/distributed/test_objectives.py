"""Every method on 2 and 4 gloo ranks against one process with the whole batch."""

from __future__ import annotations

import multiprocessing
from collections import Counter

import pytest
import torch

from tests.helpers import objectives_worker as worker

pytestmark = pytest.mark.distributed

EXACT = [case for case in worker.CASES if not case.startswith("local")]


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory):
    """Results of each rank, by rank. The processes are forked from one that has imported PyTorch, for speed."""
    folder, count = tmp_path_factory.mktemp("ranks"), request.param
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo"])
    processes = [context.Process(target=worker.main, args=(folder, rank, count)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


@pytest.fixture(scope="module")
def single():
    return {case: worker.run(case, 0, 1, Counter()) for case in EXACT}


def joined(ranks, case, step):
    """Gradients of the mean loss: features in the order of ranks, the others averaged as a trainer does."""
    parts = [rank[case]["steps"][step]["gradients"] for rank in ranks]
    features = [torch.cat([part[i] for part in parts]) for i in (0, 1)]
    return [*features, sum(part[2] for part in parts), sum(part[3] for part in parts)]


@pytest.mark.parametrize("case", EXACT)
def test_gradients_are_those_of_one_process(ranks, single, case):
    for step in range(worker.STEPS):
        found, expected = joined(ranks, case, step), single[case]["steps"][step]["gradients"]
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", EXACT)
def test_state_is_that_of_one_process_on_every_rank(ranks, single, case):
    for rank in ranks:
        assert rank[case]["state"].keys() == single[case]["state"].keys()
        for name, expected in single[case]["state"].items():
            if isinstance(expected, torch.Tensor):
                torch.testing.assert_close(rank[case]["state"][name], expected, rtol=1e-8, atol=1e-9)


def test_local_negatives_exchange_nothing_in_stage_two(ranks):
    for rank in ranks:
        for case in ("local", "local_target", "local_fit"):
            counts = [step["calls"] for step in rank[case]["steps"]]
            assert counts[1] == counts[3] == 0 and counts[0] > 0 and counts[2] > 0
        fits = [rank[case]["steps"][0]["calls"] for case in ("local_target", "local_fit")]
        # Three averages of gradients and one of the starting bias; the features only for a global target.
        assert fits == [5, 4]


def test_global_negatives_exchange_features_and_lambda_once(ranks):
    for rank in ranks:
        assert {step["calls"] for step in rank["clip"]["steps"]} == {2}
        assert rank["l2log_target"]["steps"][1]["calls"] == 2
        assert {step["calls"] for step in rank["siglip"]["steps"]} == {len(ranks) - 1}


def test_networks_stay_equal_with_local_targets(ranks):
    """Each rank fits its own part of the batch; averaged gradients keep the networks the same everywhere."""
    first = ranks[0]["local_fit"]["state"]
    for rank in ranks[1:]:
        for name, value in rank["local_fit"]["state"].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, first[name])
