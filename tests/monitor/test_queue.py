"""What Slurm's commands tell, read."""

from __future__ import annotations

import pytest

from amorlip.monitor import queue


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("30:00", 30), ("12:00:00", 720), ("7-00:00:00", 10080), ("1-12:30:00", 2190), ("infinite", float("inf"))],
)
def test_time_limits_of_slurm(limit, minutes):
    assert queue.minutes(limit) == minutes
