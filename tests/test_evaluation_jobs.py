"""How tasks are shared among evaluation jobs, and the jobs' time limits."""

from __future__ import annotations

import math
import os

import pytest

from amorlip import evaluation_jobs
from amorlip.config.benchmark import Benchmark
from amorlip.config.load import merge, read_yaml, validate
from amorlip.study import load_study
from tests.helpers import REPOSITORY

CONFIG = REPOSITORY / "config"
DATACOMP = validate(Benchmark, read_yaml(CONFIG / "benchmarks/datacomp38.yaml"), "datacomp38.yaml")


def study(name: str, **changes):
    base = read_yaml(CONFIG / "config.yaml")
    return load_study(merge(merge(base, read_yaml(CONFIG / f"{name}.yaml")), changes), CONFIG)


@pytest.mark.parametrize("number", [1, 2, 5, 38, 100])
def test_every_task_is_in_one_share(number):
    shares = evaluation_jobs.shares(DATACOMP, number)
    assert [task for tasks in shares.values() for task in tasks] == list(DATACOMP.tasks)
    assert all(shares.values()) and len(shares) <= number
    assert list(shares) == [f"{position}-of-{len(shares)}" for position in range(1, len(shares) + 1)]


def test_shares_have_about_equally_many_images():
    images = [
        sum(DATACOMP.tasks[task].samples or 0 for task in tasks)
        for tasks in evaluation_jobs.shares(DATACOMP, 3).values()
    ]
    largest = max(task.samples or 0 for task in DATACOMP.tasks.values())
    assert max(images) - min(images) <= largest


def test_the_limits_of_the_paper_are_far_below_those_of_one_job_a_task():
    """Which were 76 GPU-hours a run: 38 jobs of two hours."""
    paper = study("paper")
    jobs = evaluation_jobs.jobs(paper)
    assert len(jobs) == 2 * len(paper.runs)
    hours = sum(job.runtime_min * job.resources.gpus for job in jobs) / 60
    assert hours / len(paper.runs) == pytest.approx(2.62, abs=0.02)


def test_a_limit_follows_the_images_of_its_tasks():
    changes = {"overrides": {"scales": {"demo": {"evaluate_resources": {"runtime_min": 7, "images_per_s": 3}}}}}
    found = study("config", **changes)
    images = sum(task.samples for task in found.benchmark.tasks.values())
    assert {job.runtime_min for job in evaluation_jobs.jobs(found)} == {7 + math.ceil(images / 3 / 60)}
    source = {"kind": "hub", "repository": "a/b"}
    task = {"title": "t", "kind": "retrieval", "main_metric": "mean_recall@5", "source": source}
    changes["overrides"]["benchmarks"] = {"demo": {"tasks": {"unknown_size": task}}}
    images += evaluation_jobs.UNKNOWN_SAMPLES
    assert {job.runtime_min for job in evaluation_jobs.jobs(study("config", **changes))} == {
        7 + math.ceil(images / 3 / 60)
    }


def test_external_models_have_jobs_of_their_own():
    model = {"title": "OpenAI", "model": "RN50", "pretrained": "openai", "resources": {"jobs": 2}}
    jobs = evaluation_jobs.jobs(study("config", external_models={"openai": model}))
    assert [(job.scale, job.model, job.share) for job in jobs][-2:] == [
        ("external", "openai", "1-of-2"),
        ("external", "openai", "2-of-2"),
    ]


def test_a_forced_job_remembers_when(tmp_path):
    record = tmp_path / "new" / evaluation_jobs.record_name("1-of-1")
    assert evaluation_jobs.last_forced(record) == 0
    evaluation_jobs.force(record)
    first = evaluation_jobs.last_forced(record)
    assert first > 0 and not record.exists()
    os.utime(next(record.parent.iterdir()), (5, 5))
    evaluation_jobs.force(record)
    assert evaluation_jobs.last_forced(record) >= first
