"""Which key, when it changes, reruns which rules: real dry runs of a finished study."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from amorlip.changed_keys import explain
from amorlip.config.benchmark import Benchmark
from amorlip.config.corpus import Corpus
from amorlip.config.experiment import Experiment
from amorlip.config.load import merge
from amorlip.config.method import Method
from amorlip.config.scale import Scale
from amorlip.config.selection import Selection
from amorlip.evaluation_jobs import record_name
from tests.workflow.conftest import REPOSITORY, planned_jobs

pytestmark = pytest.mark.workflow

SHOWN = {"table": 1, "figure": 3, "report": 1, "study_report": 1}
SETTINGS = re.compile(r"now: 'results/settings/\w+-[0-9a-f]{12}\.json' ")
SECTIONS = {
    "config.yaml": Selection,
    "scales": Scale,
    "methods": Method,
    "corpora": Corpus,
    "benchmarks": Benchmark,
    "experiments": Experiment,
}
UNUSED = {"name", "overrides", "scales", "benchmark", "source", "urls", "mirror", "icons", "kind", "function"}
"""Keys that choose another study, source or function."""


def change(file: str, key: str, value: str) -> dict[str, Any]:
    """Keys of the top-level file that change one key of a file in config/; the value is YAML."""
    above = () if file == "config.yaml" else ("overrides", *file.removesuffix(".yaml").split("/"))
    changed = yaml.safe_load(value)
    for part in reversed((*above, *key.split("."))):
        changed = {part: changed}
    return changed


def jobs(text: str) -> dict[str, int]:
    """`train 2, table 1` as numbers by rule."""
    return {rule: int(count) for rule, count in re.findall(r"(\w+) (\d+)", text)}


def documented() -> Iterator[tuple[str, ...]]:
    """The rows of the table in docs/what-runs-again.md: file, key, new value, jobs."""
    for line in (REPOSITORY / "docs/what-runs-again.md").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\| `(.+?)` \| `(.+?)` \| `(.+)` \| (.+) \|", line):
            yield match.groups()


DOCUMENTED = list(documented())


@contextmanager
def restored(path: Path) -> Iterator[str]:
    """The content of a file that may be changed or deleted; it comes back with its times."""
    content, times = path.read_bytes(), path.stat()
    try:
        yield content.decode(errors="replace")
    finally:
        path.write_bytes(content)
        os.utime(path, (times.st_atime, times.st_mtime))


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"), DOCUMENTED, ids=[f"{file}-{key}" for file, key, *_ in DOCUMENTED]
)
def test_a_changed_key_reruns_what_it_changes(finished, file, key, value, expected):
    output = finished.snakemake("-n", **change(file, key, value))
    planned = planned_jobs(output)
    assert [planned.pop(rule) for rule in ("study_config", "report", "study_report")] == [1, 1, 1]
    assert planned == jobs(expected)
    for reason in re.findall(r"reason: (Params have changed.*)", output):
        assert len(reason) < 300, "a param is longer than the name of a settings file"
        assert SETTINGS.search(reason), "the reason names no settings file"


def test_every_section_of_the_configuration_is_in_the_table():
    """The documented keys, with those above them, name every section of these files, except other sources."""
    listed = {(file.split("/")[0], key) for file, key, *_ in DOCUMENTED}
    for folder, section in SECTIONS.items():
        for key in section.model_fields.keys() - UNUSED:
            assert any(known == folder and f"{path}.".startswith(f"{key}.") for known, path in listed), (folder, key)


def test_nothing_runs_again_without_a_change(finished):
    assert finished.planned() == {}


def test_why_names_the_changed_keys(finished):
    """Also where several rules have changed keys, and with as many jobs as run again for them."""
    changes = merge(change("scales/demo.yaml", "recipe.optimizer.lr", "0.003"), {"figures": {"dpi": 90}})
    output = finished.snakemake("-n", **changes)
    explained = explain(output.splitlines(), finished.folder)
    assert "train: run.recipe.optimizer.lr: 0.002 → 0.003 (2 jobs)" in explained
    assert {line.split(":")[0] for line in explained} == {"study_config", "train"}


def test_beta_max_reruns_only_amorlip(finished):
    outputs = finished.planned_outputs(**change("scales/demo.yaml", "methods.amorlip_l2log.settings.beta_max", "0.7"))
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
    (finished.folder / "x/test").mkdir(parents=True)
    for name in ("classnames.txt", "zeroshot_classification_templates.txt", "test/nshards.txt"):
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
