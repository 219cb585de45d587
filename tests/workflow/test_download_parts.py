"""A download that several jobs divide: Snakemake's jobs, and what a change of their number runs again."""

from __future__ import annotations

import pytest

from tests.workflow.conftest import Study

pytestmark = pytest.mark.workflow

FOLDER = "results/corpora/demo/train"


def jobs(number: int) -> dict:
    return {"overrides": {"corpora": {"demo": {"download": {"jobs": number}}}}}


def test_parts_are_jobs_once(finished, tmp_path):
    study: Study = finished.copy(tmp_path / "study")
    record = study.folder / FOLDER / "download.json"
    record.unlink()
    planned = study.planned(**jobs(3))
    assert (planned["download_part"], planned["download"], planned["shards"]) == (3, 1, 1)
    # A division that was begun stays, whatever the key says; what it finished does not run again.
    study.snakemake(f"{FOLDER}/parts/2-of-3.json", **jobs(3))
    assert study.planned(**jobs(5))["download_part"] == 2
    output = study.snakemake(f"{FOLDER}/download.json", **jobs(5))
    assert "--part 1 --parts 3" in output and "--parts 3 --processes 1" in output
    assert not [*record.parent.glob("parts/*.json")]
    record.write_text('{"shards": ["00000.tar"], "parts": 3}')  # as the command does, which has a stand-in here
    for number in (3, 1, 5):
        assert "download" not in study.planned(**jobs(number))
