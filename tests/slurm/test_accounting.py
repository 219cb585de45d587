"""The Slurm profile where Slurm has its accounting database, and refuses jobs without an account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers import slurm as slurm_helper
from tests.helpers import slurm_database
from tests.helpers.slurm import Slurm, ask, profile_options
from tests.workflow.conftest import Study

pytestmark = [pytest.mark.slurm, pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(900)]

ARTWORK = "results/corpora/demo/artwork/pictures.parquet"
TASK = "results/tasks/openmoji/task.json"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    if reason := slurm_helper.missing() or slurm_database.missing():
        pytest.skip(reason)
    with slurm_helper.running(accounting=True) as started:
        yield started


def test_a_job_is_charged_to_the_account_of_the_profile(slurm: Slurm, tmp_path: Path):
    study = Study(tmp_path)
    study.snakemake(ARTWORK, "--quiet")
    with pytest.raises(AssertionError, match="account nobody appears to be invalid"):
        study.snakemake(TASK, *profile_options(tmp_path), "--default-resources", "slurm_account=nobody", "--retries=0")
    study.snakemake(TASK, *profile_options(tmp_path, accounting=True))
    assert (tmp_path / TASK).exists()
    told = ask("sacct", "--allocations", "--noheader", "--parsable2", "--format=Account,State,Comment").splitlines()
    assert told == [f"{slurm_database.ACCOUNT}|COMPLETED|rule_tasks_wildcards_openmoji"]
    (report,) = (tmp_path / "results/slurm_logs").glob("efficiency_report_*.csv")
    assert len(pd.read_csv(report)) == 1
