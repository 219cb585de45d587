"""`amorlip evaluate --tasks`: several tasks in one process, what is computed again, and what a faulty task costs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from amorlip import cli, evaluation_jobs, models
from amorlip.config.benchmark import TaskSource
from amorlip.evaluation import score
from amorlip.tasks.provide import provide

KEYS = {"kind": "classification", "main_metric": "acc1"}
TASKS = ("colors", "shapes", "things")


class Job:
    """Three small sets, weights of the demo's architecture, and the job that evaluates them."""

    def __init__(self, sets, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.record = self.results / evaluation_jobs.record_name("1-of-1")
        self.weights = folder / "weights.safetensors"
        self.definitions = {task: KEYS for task in TASKS}
        self.write_weights(seed=3)
        for number, task in enumerate(TASKS, start=2):
            names = [f"{task} {n}" for n in range(number)]
            labels = [n % number for n in range(12)]
            source = sets.classification(folder / "mine" / task, sets.pictures(12), labels, names, ["a {c}"])
            provide(TaskSource(kind="folder", path=str(source)), folder / "tasks" / task)

    def write_weights(self, seed: int) -> None:
        models.export(models.create("demo", seed=seed), self.weights)

    def arguments(self) -> list[str]:
        settings = {"tasks": self.definitions, "evaluation": {"batch_size": 8}, "name": "mine"}
        return ["evaluate", "--settings", json.dumps(settings), "--model", "demo", "--pretrained", str(self.weights),
                "--workers", "0"]  # fmt: skip

    def run(self) -> set[str]:
        """Run the job; the tasks that it computed."""
        before = self.times()
        self.record.unlink(missing_ok=True)  # as Snakemake does before a job
        paths = ["--tasks", str(self.folder / "tasks"), "--output", str(self.results), "--record", str(self.record)]
        try:
            cli.main([*self.arguments(), *paths])
        finally:
            after = self.times()
            self.computed = {path.stem for path, changed in after.items() if before.get(path) != changed}
        return self.computed

    def times(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.results.glob("*.json") if path.stem in TASKS}

    def shard(self, task: str) -> Path:
        return self.folder / "tasks" / task / "test" / "0.tar"


@pytest.fixture
def job(sets, tmp_path):
    return Job(sets, tmp_path)


def test_one_model_serves_all_tasks(job, monkeypatch):
    """With the scores that each task has alone."""
    loads = []
    load = models.load_published
    monkeypatch.setattr(models, "load_published", lambda *names: loads.append(names) or load(*names))
    assert job.run() == set(TASKS)
    assert len(loads) == 1
    assert json.loads(job.record.read_text())["files"] == [f"{t}.{e}" for t in TASKS for e in ("json", "parquet")]
    for task in TASKS:
        alone = job.folder / "alone" / f"{task}.json"
        cli.main(
            [*job.arguments(), "--key", task, "--folder", str(job.folder / "tasks" / task), "--output", str(alone)]
        )
        one, other = (json.loads(path.read_text()) for path in (alone, job.results / alone.name))
        assert {**one, "seconds": 0, "images_per_s": 0} == {**other, "seconds": 0, "images_per_s": 0}


def delete_a_result(job):
    (job.results / "shapes.json").unlink()


def delete_predictions(job):
    (job.results / "shapes.parquet").unlink()


def damage_a_result(job):
    (job.results / "shapes.json").write_text('{"task": "shapes", "run": {}, "main_metric": "acc1", "value": 7}')


def change_a_task(job):
    job.definitions = {**job.definitions, "shapes": {**KEYS, "transparency": "drop"}}


def change_a_set(job):
    record = job.folder / "tasks" / "shapes" / "task.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "source": {"kind": "hub", "revision": "new"}}))


def leave_a_task_out(job):
    job.definitions = {key: value for key, value in job.definitions.items() if key != "shapes"}


def change_the_weights(job):
    job.write_weights(seed=4)


def force(job):
    time.sleep(0.01)
    evaluation_jobs.force(job.record)


def touch_everything(job):
    for path in job.folder.rglob("*"):
        if path.is_file() and job.results not in path.parents:
            os.utime(path)


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        (delete_a_result, {"shapes"}),
        (delete_predictions, {"shapes"}),
        (damage_a_result, {"shapes"}),
        (change_a_task, {"shapes"}),
        (change_a_set, {"shapes"}),
        (leave_a_task_out, set()),
        (touch_everything, set()),
        (change_the_weights, set(TASKS)),
        (force, set(TASKS)),
    ],
)
def test_what_changed_is_computed_again_and_nothing_else(job, change, computed):
    job.run()
    change(job)
    assert job.run() == computed
    assert job.run() == set()


def test_a_new_task_is_computed_alone(job):
    job.definitions = {task: KEYS for task in TASKS[:2]}
    assert job.run() == set(TASKS[:2])
    job.definitions = {task: KEYS for task in TASKS}
    assert job.run() == {"things"}


def test_a_killed_job_goes_on_with_the_missing_tasks(job, monkeypatch):
    def killed_at_the_second(encoder, task, folder, **keys):
        if folder.name == "shapes":
            raise KeyboardInterrupt
        return scored(encoder, task, folder, **keys)

    scored = score.evaluate
    monkeypatch.setattr(score, "evaluate", killed_at_the_second)
    with pytest.raises(SystemExit):
        job.run()
    assert job.computed == {"colors"} and not job.record.exists()
    monkeypatch.undo()
    assert job.run() == {"shapes", "things"}
    assert job.record.is_file()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda job: job.shard("shapes").write_bytes(b"no tar"), "does not match its checksum"),
        (lambda job: (job.folder / "tasks" / "shapes" / "task.json").write_text("{"), "task.json"),
        (lambda job: (job.folder / "tasks" / "shapes" / "task.json").unlink(), "has no task.json"),
        (lambda job: job.definitions.update(shapes={**KEYS, "samples": 99}), "the benchmark expects 99"),
    ],
)
def test_a_faulty_task_is_named_and_costs_no_other(job, capsys, damage, words):
    damage(job)
    with pytest.raises(SystemExit) as left:
        job.run()
    assert left.value.code == 1
    assert job.computed == {"colors", "things"}
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("amorlip evaluate: 1 of 3 tasks failed") and "shapes: " in last and words in last
    assert not job.record.exists() and not (job.results / "shapes.json").exists()
    job.definitions.pop("shapes")
    assert job.run() == set()


def test_a_fault_of_the_code_costs_no_other_task_either(job, capsys, monkeypatch):
    """Its traceback is in the log, and the last line names the task."""

    def faulty(encoder, task, folder, **keys):
        return 1 / 0 if folder.name == "colors" else scored(encoder, task, folder, **keys)

    scored = score.evaluate
    monkeypatch.setattr(score, "evaluate", faulty)
    with pytest.raises(SystemExit):
        job.run()
    said = capsys.readouterr().err
    assert "Traceback" in said and said.splitlines()[-1].endswith("colors: division by zero")
    assert job.computed == {"shapes", "things"}


def test_weights_that_cannot_be_loaded_are_the_fault_of_no_task(job, capsys):
    job.weights.write_bytes(b"no weights")
    with pytest.raises(SystemExit):
        job.run()
    said = capsys.readouterr().err
    assert "not the weights of a 'demo'" in said and "tasks failed" not in said


def test_a_full_disk_stops_at_once(job, capsys, monkeypatch):
    def full(*arguments, **keys):
        tried.append(arguments)
        raise OSError(28, "No space left on device", str(job.results / "colors.parquet"))

    tried: list = []
    monkeypatch.setattr(score, "evaluate", full)
    with pytest.raises(SystemExit):
        job.run()
    assert len(tried) == 1
    assert "No space left on device; free some space" in capsys.readouterr().err


def test_a_task_that_is_missing_needs_no_model(job, capsys):
    provide(TaskSource(kind="folder", path="nowhere"), job.folder / "tasks" / "shapes", allow_missing=True)
    job.definitions = {"shapes": KEYS}
    job.weights.unlink()
    assert job.run() == {"shapes"}
    assert json.loads((job.results / "shapes.json").read_text())["value"] is None


def test_a_file_of_the_user_is_not_replaced(job, capsys):
    job.results.mkdir()
    (job.results / "colors.json").write_text('{"title": "mine"}')
    with pytest.raises(SystemExit):
        job.run()
    assert "colors.json exists and is not the result of an evaluation" in capsys.readouterr().err
    assert job.computed == {"shapes", "things"}
    assert json.loads((job.results / "colors.json").read_text()) == {"title": "mine"}


@pytest.mark.parametrize(
    "arguments", [[], ["--key", "x"], ["--folder", "x"], ["--tasks", "x", "--key", "x", "--folder", "y"]]
)
def test_one_task_or_all_must_be_clear(job, capsys, arguments):
    with pytest.raises(SystemExit):
        cli.main([*job.arguments(), "--output", str(job.results), *arguments])
    assert "give either --tasks, or --key and --folder" in capsys.readouterr().err
