"""The time limit of the job that a run is in, so that it can save and leave before it."""

from __future__ import annotations

import time

from amorlip.common import slurm

RESERVE_S = 30
"""Kept for leaving, besides twice the time of the slowest checkpoint."""


class Limit:
    """When this process has to end. `minutes` is the job's limit, for schedulers that tell nothing themselves."""

    def __init__(self, minutes: float | None = None) -> None:
        handed_over = None if minutes is None else time.time() + 60 * minutes
        # the scheduler's own time first: it counts from the job's start, and someone may have extended the limit
        self.end = slurm.end_time() or handed_over
        self.slowest_save_s = 0.0

    def note_save(self, seconds: float) -> None:
        """A checkpoint took so long to write."""
        self.slowest_save_s = max(self.slowest_save_s, seconds)

    def is_near(self, before_s: float = 0.0) -> bool:
        """Whether it is time to save and leave, if something that takes `before_s` comes first."""
        if self.end is None:
            return False
        return time.time() + before_s + RESERVE_S + 2 * self.slowest_save_s > self.end
