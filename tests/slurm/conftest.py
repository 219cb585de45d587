"""A real Slurm for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers import slurm as slurm_helper


# One Slurm for each module, not for the session: another process of pytest-xdist waits until it is stopped.
@pytest.fixture(scope="module")
def slurm() -> Iterator[slurm_helper.Slurm]:
    """Slurm with three nodes, which the tests of a module share."""
    if reason := slurm_helper.missing():
        pytest.skip(reason)
    with slurm_helper.running() as started:
        yield started
