"""What `amorlip why` says about the reasons that a dry run prints."""

from __future__ import annotations

import io
import json

import pytest

from amorlip import cli
from amorlip.changed_keys import explain

REASON = (
    "    reason: Params have changed since last execution: Union of exclusive params before and now across all output: "
    "before: {} now: {} "
)
OLD, OLDER, NEW = (f"results/settings/train-{digit * 12}.json" for digit in "abc")
KEYS = {"run": {"recipe": {"optimizer": {"lr": 0.1}, "epoch_tasks": ["a"]}, "seed": 0}, "tasks": {}}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes settings and returns their explanation after a dry run of two jobs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/settings").mkdir(parents=True)

    def explained(before, now, **settings):
        for name, content in settings.items():
            (tmp_path / globals()[name]).write_text(json.dumps(content))
        job = ["rule train:", "    input: x", REASON.format(before, now), "    wildcards: run=a"]
        return explain([*job, "localrule table:", "    reason: Input files updated by another job: x", *job])

    return explained


def changed(lr=0.1, tasks=("a",), seed=0):
    return {**KEYS, "run": {"recipe": {"optimizer": {"lr": lr}, "epoch_tasks": list(tasks)}, "seed": seed}}


def test_each_changed_key_has_one_line(written):
    lines = written(f"'{OLD}'", f"'{NEW}'", OLD=KEYS, NEW=changed(lr=0.2, tasks=("a", "b")))
    assert lines == [
        "train: run.recipe.optimizer.lr: 0.1 → 0.2 (2 jobs)",
        'train: run.recipe.epoch_tasks[1]: missing → "b" (2 jobs)',
    ]


def test_the_last_of_several_runs_is_compared(written):
    lines = written(f"'{OLDER}','{OLD}'", f"'{NEW}'", OLDER=changed(lr=5, seed=3), OLD=changed(lr=5), NEW=KEYS)
    assert lines == ["train: run.recipe.optimizer.lr: 5 → 0.1 (2 jobs)"]


def test_settings_that_were_deleted(written):
    assert written(f"'{OLD}'", f"'{NEW}'", NEW=KEYS) == [
        f"train: {OLD} was deleted, so the keys cannot be compared (2 jobs)"
    ]


def test_another_parameter_is_shown_as_it_is(written):
    """The state of a user's folder."""
    assert written("'0123'", "'4567'") == ["train: parameters: '0123' → '4567' (2 jobs)"]


@pytest.mark.parametrize(("said", "printed"), [("", "No key was changed"), (REASON.format("'1'", "'2'"), "'1' → '2'")])
def test_the_command_reads_a_dry_run(said, printed, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"rule tasks:\n{said}\n"))
    cli.main(["why"])
    assert printed in capsys.readouterr().out
