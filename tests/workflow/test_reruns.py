"""Which key, when it changes, reruns which rules: real dry runs of a finished study."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amorlip.evaluation_jobs import record_name
from tests.workflow.conftest import REPOSITORY

pytestmark = pytest.mark.workflow

TABLES, FIGURES = 1, 3
SHOWN = {"table": TABLES, "figure": FIGURES, "report": 1}


def scale(**keys):
    return {"overrides": {"scales": {"demo": keys}}}


def recipe(**keys):
    return scale(recipe=keys)


CHANGES = [
    ("nothing", {}, {}),
    ("figures.dpi", {"figures": {"dpi": 90}}, {"figure": FIGURES, "report": 1}),
    (
        "beta_max of AmorLIP",
        scale(methods={"amorlip_l2log": {"settings": {"beta_max": 0.7}}}),
        {"train": 1, "evaluate": 1, **SHOWN},
    ),
    ("a second seed", {"seeds": [0, 1]}, {"train": 2, "evaluate": 2, **SHOWN}),
    ("optimizer.lr", recipe(optimizer={"lr": 0.003}), {"train": 2, "evaluate": 2, **SHOWN}),
    ("compile", recipe(compile="never"), {"train": 2, "evaluate": 2, **SHOWN}),
    ("loader.workers", recipe(loader={"workers": 3}), {"report": 1}),
    ("checkpoint_every_steps", recipe(checkpoint_every_steps=7), {"report": 1}),
    ("train_resources.mem_mb", scale(train_resources={"mem_mb": 999}), {"report": 1}),
    ("evaluation.precision", scale(evaluation={"precision": "bfloat16"}), {"evaluate": 2, **SHOWN}),
    ("evaluate_resources.mem_mb", scale(evaluate_resources={"mem_mb": 999}), {"report": 1}),
    # As many jobs, which find their results and compute nothing.
    ("evaluate_resources.jobs", scale(evaluate_resources={"jobs": 3}), {"evaluate": 6, **SHOWN}),
    ("title of a scale", scale(title="Small"), SHOWN),
    (
        "title of a method",
        {"overrides": {"methods": {"clip": {"title": "baseline"}}}},
        SHOWN,
    ),
    ("download.threads", {"overrides": {"corpora": {"demo": {"download": {"threads": 5}}}}}, {"report": 1}),
    ("download.jobs", {"overrides": {"corpora": {"demo": {"download": {"jobs": 5}}}}}, {"report": 1}),
    ("allow_missing_tasks", {"allow_missing_tasks": True}, {"report": 1}),
    (
        "an external model",
        {"external_models": {"openai": {"title": "OpenAI", "model": "RN50", "pretrained": "openai"}}},
        {"evaluate_external": 1, "table": TABLES, "report": 1},
    ),
    (
        "caption of a figure",
        {"overrides": {"experiments": {"training_curves": {"caption": "Other words."}}}},
        {"figure": 1, "report": 1},
    ),
]


@contextmanager
def restored(path: Path) -> Iterator[str]:
    """The content of a file that may be changed or deleted; it comes back with its times."""
    content, times = path.read_bytes(), path.stat()
    try:
        yield content.decode(errors="replace")
    finally:
        path.write_bytes(content)
        os.utime(path, (times.st_atime, times.st_mtime))


@pytest.mark.parametrize(("changes", "rules"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_changed_key_reruns_what_it_changes(finished, changes, rules):
    planned = finished.planned(**changes)
    if changes:  # the copy of the configuration beside the results follows every change
        assert planned.pop("study_config") == 1
    assert planned == rules


def test_beta_max_reruns_only_amorlip(finished):
    outputs = finished.planned_outputs(**scale(methods={"amorlip_l2log": {"settings": {"beta_max": 0.7}}}))
    assert any("amorlip_l2log-seed0" in path for path in outputs)
    assert not any("clip-seed0" in path for path in outputs)


def test_a_new_seed_runs_only_itself(finished):
    outputs = finished.planned_outputs(seeds=[0, 1])
    assert any("clip-seed1" in path for path in outputs)
    assert not any("seed0" in path for path in outputs)


def test_seeds_from_the_command_line(finished):
    """As the README has it; Snakemake hands the numbers over as text."""
    output = finished.snakemake("-n", "--config", "seeds=[0,1]")
    assert re.search(r"^ +output: .*/runs/demo/clip-seed1/", output, re.MULTILINE)
    assert not re.search(r"^ +output: .*seed0/", output, re.MULTILINE)


def test_a_removed_evaluation_runs_the_job_of_its_run_again(finished):
    path = finished.folder / "results/demo/evaluations/demo/clip-seed0/openmoji.json"
    with restored(path):
        path.unlink()
        assert finished.planned() == {"evaluate": 1, **SHOWN}
        assert str(path.with_name(record_name("1-of-1")).relative_to(finished.folder)) in finished.planned_outputs()


def test_a_removed_set_is_made_again_and_evaluated(finished):
    path = finished.folder / "results/tasks/digits/task.json"
    with restored(path):
        path.unlink()
        assert finished.planned() == {"tasks": 1, "evaluate": 2, **SHOWN}


def test_a_set_that_came_anew_is_no_reason_to_train_again(finished):
    """Not even the one that is evaluated after each epoch."""
    path = finished.folder / "results/tasks/openmoji/task.json"
    with restored(path) as content:
        path.write_text(content + "\n")
        assert finished.planned() == {"evaluate": 2, **SHOWN}


def test_a_set_that_was_left_out_stops_a_study_that_needs_it(finished):
    path = finished.folder / "results/tasks/openmoji/task.json"
    with restored(path):
        path.write_text(json.dumps({"source": {}, "missing": "gated"}))
        with pytest.raises(AssertionError, match="left out by a study that allowed it .gated.; to try again"):
            finished.snakemake("-n")
        finished.snakemake("-n", allow_missing_tasks=True)


def test_a_new_task_is_built_and_evaluated_alone(finished):
    for name in ("classnames.txt", "zeroshot_classification_templates.txt", "test/nshards.txt"):
        (finished.folder / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (finished.folder / "x" / name).touch()
    task = {"title": "mine", "kind": "classification", "main_metric": "acc1", "source": {"kind": "folder", "path": "x"}}
    planned = finished.planned(overrides={"benchmarks": {"demo": {"tasks": {"mine": task}}}})
    assert planned == {"study_config": 1, "tasks": 1, "evaluate": 2, **SHOWN}


def test_a_task_of_held_out_pairs_needs_the_validation_split_only(finished):
    source = {"kind": "validation", "corpus": "cc3m"}
    task = {"title": "held out", "kind": "retrieval", "main_metric": "mean_recall@5", "source": source}
    planned = finished.planned(overrides={"benchmarks": {"demo": {"tasks": {"held_out": task}}}})
    made = {"urls": 1, "download": 1, "shards": 1, "tasks": 1, "evaluate": 2}
    assert {rule: planned.get(rule) for rule in made} == made


def test_bad_keys_stop_before_any_job(finished):
    import subprocess

    command = ["snakemake", "--snakefile", str(REPOSITORY / "workflow/Snakefile"), "-n", "--config", "sedes=[1]"]
    done = subprocess.run(command, cwd=finished.folder, env=finished.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "unknown key 'sedes'; did you mean 'seeds'?" in done.stdout + done.stderr
    assert "rule " not in done.stdout


def test_the_slurm_profile_lists_the_same_jobs(finished):
    """`slurm` is a link beside the README, so the profile is found from a clone."""
    output = finished.snakemake("-n", "--forceall", "--profile", str(REPOSITORY / "slurm"))
    for rule in ("artwork", "download", "shards", "tasks", "train", "evaluate", "table", "figure"):
        assert f"rule {rule}:" in output
