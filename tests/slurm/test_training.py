"""What ends a training job on a real Slurm, one test each, and the end of the run.

Two runs train slowly until their last test: one of two ranks under Snakemake, and one of one rank, whose job reaches
its time limit while the first one is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.helpers.slurm import Slurm, ask
from tests.helpers.slurm_runs import FOLDER, Submitted, UnderSnakemake
from tests.workflow.conftest import Study

pytestmark = [pytest.mark.slurm, pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def submitted(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Submitted, Future[None]]]:
    """The run of one rank, and when its job has reached its time limit twice."""
    run = Submitted(slurm, tmp_path_factory.mktemp("run"), node="node3")
    with ThreadPoolExecutor(1) as pool:
        yield run, pool.submit(run.reach_time_limit_twice)


@pytest.fixture(scope="module")
def snakemakes(slurm: Slurm, submitted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnderSnakemake]:
    study = Study(tmp_path_factory.mktemp("study"))
    study.snakemake("--quiet")
    (study.folder / FOLDER / "model.safetensors").unlink()
    started = UnderSnakemake(slurm, study)
    yield started
    started.snakemake.kill()


@pytest.fixture
def watched(snakemakes: UnderSnakemake) -> UnderSnakemake:
    """The run of two ranks, which trains."""
    snakemakes.wait(lambda: snakemakes.run.trains, "the run does not train")
    assert snakemakes.snakemake.poll() is None, snakemakes.said()
    return snakemakes


@pytest.fixture
def training(submitted: tuple[Submitted, Future[None]]) -> Submitted:
    """The run of one rank, which trains again after its time limits."""
    run, limits = submitted
    limits.result()
    run.wait(lambda: run.run.trains, "the run does not train")
    return run


# ------------------------------------------------------------------------------ two ranks, under Snakemake


def test_after_scancel_snakemake_submits_another_job(watched: UnderSnakemake):
    run, job, starts = watched.run, watched.job, len(watched.run.starts)
    ask("scancel", job)
    run.start_uninterrupted()  # needed later; now there is time for it
    watched.wait_for_start(starts + 1)
    assert watched.job != job and watched.slurm.jobs()[job]["JobState"] == "CANCELLED"
    assert run.starts == [0, *run.stops]
    assert f"Slurm job {job}: not put back into the queue: its state is" in run.log


def test_a_job_that_comes_first_takes_its_place(watched: UnderSnakemake):
    run, node, starts = watched.run, watched.facts["NodeList"], len(watched.run.starts)
    options = ["--partition=high", f"--nodelist={node}", "--exclusive", "--mem=100", "--output=/dev/null"]
    other = ask("sbatch", "--parsable", *options, "--wrap", "sleep 900")
    try:
        watched.wait_for_start(starts + 1)
    finally:
        ask("scancel", other)
    assert watched.facts["Restarts"] == "1" and watched.facts["NodeList"] != node
    assert run.starts == [0, *run.stops]


def test_a_schedulers_signal_reaches_both_ranks(watched: UnderSnakemake):
    run, starts = watched.run, len(watched.run.starts)
    ask("scancel", "--signal=URG", watched.job)
    watched.wait_for_start(starts + 1)
    assert run.starts == [0, *run.stops] and "SIGURG: stopped" in run.log
    assert f"Slurm job {watched.job}: put back into the queue" in run.log


def test_a_failed_node_costs_only_unsaved_steps(watched: UnderSnakemake):
    run, node = watched.run, watched.facts["NodeList"]
    starts, stops = run.starts, run.stops
    watched.wait(lambda: run.newest_checkpoint > starts[-1], "no checkpoint is written")
    watched.slurm.kill_node(node)
    try:
        saved = run.newest_checkpoint
        watched.wait_for_start(len(starts) + 1)
    finally:
        watched.slurm.start_node(node)
    assert run.starts == [*starts, saved] and run.stops == stops


def test_snakemake_ends_with_the_same_weights(watched: UnderSnakemake):
    run = watched.run
    run.slow.unlink()
    watched.wait(lambda: watched.snakemake.poll() is not None, "Snakemake does not end")
    assert watched.snakemake.returncode == 0, watched.said()
    assert run.result == run.uninterrupted()


# ------------------------------------------------------------------------------ one rank, in jobs submitted by hand


def test_its_time_limit_ends_a_job_twice(training: Submitted):
    """First it learns of it by Slurm's SIGTERM, then it knows its limit and leaves before. Each time it goes on."""
    log, starts = training.run.log, training.run.starts
    assert len(starts) == 3 and starts == [0, *training.run.stops]
    assert log.index("SIGTERM: stopped") < log.index("the job's time limit is near: stopped")
    assert log.count("put back into the queue") == 2


def test_a_schedulers_signal_ends_a_job(training: Submitted):
    run, starts = training.run, len(training.run.starts)
    ask("scancel", "--signal=URG", training.job)
    training.wait_for_start(starts + 1)
    assert run.starts == [0, *run.stops] and "SIGURG: stopped" in run.log
    assert training.facts["Restarts"] == "3"


def test_scancel_ends_a_job_for_good_and_loses_nothing(training: Submitted):
    run, starts, restarts = training.run, len(training.run.starts), training.facts["Restarts"]
    ask("scancel", training.job)
    training.wait(lambda: training.facts["JobState"] == "CANCELLED", "the job is not cancelled")
    assert len(run.stops) == starts and training.facts["Restarts"] == restarts
    assert f"Slurm job {training.job}: not put back into the queue: its state is" in run.log
    training.jobs.append(training.submit())
    training.wait_for_start(starts + 1)
    assert run.starts == [0, *run.stops]


def test_a_second_job_waits_and_the_weights_are_the_same(training: Submitted):
    run, jobs, second = training.run, training.slurm.jobs, training.submit()
    training.wait(lambda: jobs()[second]["Dependency"] != "(null)", "the second job does not wait in the queue")
    assert jobs()[second]["Dependency"].startswith(f"afterany:{training.job}")
    assert jobs()[second]["JobState"] in ("PENDING", "COMPLETING")
    run.slow.unlink()
    training.wait(lambda: jobs()[second]["JobState"] == "COMPLETED", "the second job does not end")
    assert training.facts["JobState"] == "COMPLETED" and run.log.count("already trained") == 1
    assert (run.folder / "codes").read_text().splitlines()[-2:] == ["exit code 0"] * 2
    assert (run.folder / "run.log").read_text() == run.log
    assert run.result == run.uninterrupted()
