"""A file that was deleted from the results is made again, also where it is no declared output of a rule.

Shards, the files of evaluation sets, and evaluations are no declared outputs: the number of the first two is not known
before, and Snakemake would delete those of a job that failed. So the record of a stage, which is its declared output,
names them. When one is missing, the stage's file in `results/deleted/`, which is an input of its rule, gets a new time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amorlip import evaluation_jobs
from amorlip.common import files
from amorlip.study import Study

FOLDER = "deleted"
SPLITS = ("train", "validation")


def note_deleted(study: Study, results: Path) -> None:
    """Write the files in `results`/deleted/ of every corpus and task of a study."""
    for corpus in study.corpora:
        folder = results / "corpora" / corpus
        for split in SPLITS:
            gone = _gone(folder / split / "download.json", _shards)
            _note(results / FOLDER / "corpora" / corpus / f"{split}.json", gone)
        _note(
            results / FOLDER / "corpora" / corpus / "artwork.json", _gone(folder / "artwork/packages.json", _pictures)
        )
    for task in study.benchmark.tasks:
        gone = _gone(results / "tasks" / task / "task.json", _task_files)
        _note(results / FOLDER / "tasks" / f"{task}.json", gone)
    for job in evaluation_jobs.jobs(study):
        place = Path(study.selection.name, "evaluations", job.scale, job.model)
        gone = _gone(results / place / evaluation_jobs.record_name(job.share), _evaluations)
        _note(results / FOLDER / place / f"{job.share}.json", gone)


def _gone(record: Path, listed: Callable[[Path, Any], list[str]]) -> list[str]:
    """The files that are missing from the folder of a record. One that cannot be read is for its stage to report."""
    try:
        return listed(record.parent, json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _missing(folder: Path, names: list[str]) -> list[str]:
    return sorted(name for name in names if not (folder / name).is_file())


def _shards(folder: Path, record: dict[str, Any]) -> list[str]:
    return _missing(folder, list(record.get("shards", [])))


def _task_files(folder: Path, record: dict[str, Any]) -> list[str]:
    return _missing(folder, list(record.get("files", {})))


def _evaluations(folder: Path, record: dict[str, Any]) -> list[str]:
    return _missing(folder, list(record.get("files", [])))


def _pictures(folder: Path, record: list[dict[str, Any]]) -> list[str]:
    """Tens of thousands of pictures are counted, not listed."""
    expected = sum(package.get("pictures") or 0 for package in record)
    found = sum(len(names) for _, _, names in os.walk(folder / "pictures"))
    return [f"{expected - found} of {expected} files of pictures/"] if found < expected else []


def _note(path: Path, gone: list[str]) -> None:
    if gone:
        # The time is part of the content: Snakemake ignores a new time of a file whose content is the same.
        files.write_json(path, {"deleted": gone, "noticed": time.time()})
    elif not path.is_file() or path.stat().st_mtime:
        files.write_json(path, {"deleted": []})
        os.utime(path, (0, 0))  # older than any output, so that it makes nothing run again
