"""The example of docs/adding-a-figure.md, taken from the text and drawn."""

from __future__ import annotations

import re
import sys
import types

import pytest
import yaml
from matplotlib.colors import to_hex

from amorlip.common.errors import AmorlipError
from amorlip.config import experiment
from amorlip.config.experiment import Experiment
from amorlip.reporting import figures, style
from amorlip.reporting.evaluations import read_evaluations
from tests.helpers import REPOSITORY

TEXT = (REPOSITORY / "docs" / "adding-a-figure.md").read_text(encoding="utf-8")
OPTIONS, TYPE_LINE, MODULE, FUNCTION_LINE, YAML = (
    match.group(1) for match in re.finditer(r"```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL)
)


@pytest.fixture
def registered(monkeypatch):
    """The example, registered."""
    scope = dict(vars(experiment))
    exec(compile(OPTIONS, "experiment.py", "exec"), scope)
    monkeypatch.setattr(experiment, "TwoTasks", scope["TwoTasks"], raising=False)
    module = types.ModuleType("amorlip.reporting.two_tasks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(MODULE, "two_tasks.py", "exec"), vars(module))
    for entries, line in ((experiment.FIGURES, TYPE_LINE), (figures.FUNCTIONS, FUNCTION_LINE)):
        ((name, value),) = eval("{" + line + "}", {**scope, **vars(module)}).items()
        monkeypatch.setitem(entries, name, value)
    return Experiment(**yaml.safe_load(YAML))


def test_it_is_short():
    assert sum(len(part.splitlines()) for part in (OPTIONS, TYPE_LINE, MODULE, FUNCTION_LINE, YAML)) < 60


def test_the_files_are_written(registered, study, tmp_path):
    shown = registered.model_copy(update={"options": {"x": "openmoji", "y": "all"}})
    outputs = {form: tmp_path / f"x.{form}" for form in ("png", "pdf")}
    figures.draw("two_tasks", study(seeds=(0, 1)).shown(shown), outputs)
    assert outputs["png"].read_bytes()[:4] == b"\x89PNG" and outputs["pdf"].read_bytes()[:4] == b"%PDF"


def test_each_run_is_a_point_in_percent_in_its_methods_color(registered, study):
    fake = study(seeds=(0, 1))
    settings = fake.shown(registered)
    options = experiment.FIGURES["two_tasks"](x="openmoji", y="digits")
    with style.context(settings.style):
        axes = figures.FUNCTIONS["two_tasks"](settings, options).axes[0]
    points = {(round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6)) for line in axes.lines}
    values = read_evaluations(settings.evaluations, fake.runs, fake.benchmark).set_index(["method", "seed", "task"])
    expected = {
        tuple(round(100 * float(values.value[run.method, run.seed, task]), 6) for task in ("openmoji", "digits"))
        for run in fake.runs
    }
    assert points == expected and len(points) == 4
    assert {to_hex(line.get_color(), keep_alpha=False).upper() for line in axes.lines} == {
        style.COLORS[method].upper() for method in fake.methods
    }


def test_an_unknown_task_is_named(registered, study, tmp_path):
    wrong = registered.model_copy(update={"options": {"x": "openmojo", "y": "all"}})
    outputs = {form: tmp_path / f"x.{form}" for form in ("png", "pdf")}
    with pytest.raises(AmorlipError, match="did you mean 'openmoji'"):
        figures.draw("two_tasks", study().shown(wrong), outputs)
