"""When a run leaves before its job's time limit, and when it is not started again."""

from __future__ import annotations

import time

import pytest

from amorlip.common import slurm
from amorlip.common.errors import AmorlipError
from amorlip.training import starts
from amorlip.training.limit import RESERVE_S, Limit


def test_without_a_limit_it_is_never_near():
    assert not Limit().is_near(before_s=1e9)


def test_a_limit_that_was_handed_over_counts_from_now():
    assert not Limit(minutes=10).is_near()
    assert Limit(minutes=10).is_near(before_s=10 * 60 - RESERVE_S / 2)


def test_the_schedulers_own_time_comes_first(monkeypatch):
    monkeypatch.setattr(slurm, "end_time", lambda: time.time() + RESERVE_S / 2)
    assert Limit(minutes=10).is_near()


def test_slow_checkpoints_need_more_time():
    limit = Limit(minutes=10)
    limit.note_save(400)
    limit.note_save(1)
    assert limit.is_near()


def test_two_starts_without_progress_are_the_last(tmp_path):
    folder = tmp_path / "run" / "checkpoints" / "abc"
    for job, step in enumerate([0, 7, 7, 9, 9]):
        starts.note(folder, step, str(job))
    for _ in range(2):
        with pytest.raises(
            AmorlipError, match=r"no progress: .*jobs 3, 4\) .* after step 9; .*train.log; delete .*json"
        ):
            starts.note(folder, 9, "5")
    starts.note(folder, 10, "6")
