"""Any value of any key gives a study, or one clear line; and what gives a study can begin to train."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from amorlip.common.errors import AmorlipError
from amorlip.config.benchmark import Benchmark
from amorlip.config.corpus import Corpus
from amorlip.config.experiment import Experiment
from amorlip.config.load import merge, validate
from amorlip.config.method import Method
from amorlip.config.objectives import OBJECTIVES, settings_type
from amorlip.config.recipe import Recipe
from amorlip.config.run import Run
from amorlip.config.scale import Scale
from amorlip.config.selection import Selection
from amorlip.study import Study, load_study
from amorlip.training import session
from amorlip.training.distributed import World
from tests.helpers import REPOSITORY, tiny

pytestmark = pytest.mark.slow

CONFIG = REPOSITORY / "config"
EXAMPLES = int(os.environ.get("AMORLIP_FUZZ", "150"))
FUZZ = settings(
    deadline=None, derandomize=True, max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
FILES = {
    "scales": ("demo", Scale), "methods": ("amorlip_l2log", Method), "corpora": ("demo", Corpus),
    "benchmarks": ("demo", Benchmark), "experiments": ("table1", Experiment),
}  # fmt: skip

texts = st.text(max_size=12) | st.sampled_from(["", "1e-3", "1e999", "nan", "..", "a/b", "x\ny", "demo", "clip", "\0"])
numbers = (
    st.sampled_from([0, 1, -1, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e300])
    | st.integers() | st.floats()
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | numbers, inner, max_size=3),
    max_leaves=4,
)


def keys(section: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a section, nested ones too."""
    for name, field in section.model_fields.items():
        yield (*before, name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from keys(part, (*before, name))


def put(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """`value` under nested keys."""
    for key in reversed(path):
        value = {key: value}
    return value


@cache
def demo() -> dict[str, Any]:
    return yaml.safe_load((CONFIG / "config.yaml").read_text())


def paths_of(study: Study) -> list[str]:
    """Names that become files or folders."""
    names = [study.selection.name, *study.benchmark.tasks, *study.experiments, *study.corpora]
    return names + [part for _, run in study.runs for part in (run.scale, run.name)]


def resolved(selection: dict[str, Any]) -> Study | None:
    """The complete study, or None when it was refused in one line."""
    try:
        study = load_study(selection, CONFIG, "config.yaml")
        assert study.runs and study.corpora and study.benchmark.tasks
        for name in paths_of(study):
            assert name.isprintable() and "/" not in name and name not in ("", ".", ".."), name
        event("a study")
        return study
    except AmorlipError as error:
        assert str(error) and "\n" not in str(error) and "\r" not in str(error), str(error)
        event("refused")
        return None


@given(st.sampled_from([*keys(Selection), ("unknown",)]), values)
@example(("two\nlines",), None)
@example(("name",), "..")
@example(("seeds",), [2**31])
@example(("scales",), [])
@FUZZ
def test_any_value_of_any_key_of_the_study(path, value):
    resolved(merge(demo(), put(path, value)))


@given(st.data(), values)
@FUZZ
def test_any_value_of_any_key_of_the_named_files(data, value):
    kind = data.draw(st.sampled_from(sorted(FILES)))
    name, section = FILES[kind]
    path = data.draw(st.sampled_from([*keys(section), ("unknown",)]))
    resolved(merge(demo(), {"overrides": {kind: {name: put(path, value)}}}))


@given(st.sampled_from(sorted(OBJECTIVES)), st.data(), values)
@FUZZ
def test_any_value_of_any_setting_of_any_method(method, data, value):
    path = data.draw(st.sampled_from([*keys(settings_type(method)), ("unknown",)]))
    layer = {"methods": {method: {"settings": put(path, value)}}}
    resolved({**demo(), "methods": [method, "clip"], "overrides": layer})


def bytes_asked_for(value: Any) -> bool:
    """True for numbers that may stand for more memory than there is and less than the system refuses at once."""
    found = value if isinstance(value, list) else [value]
    return any(isinstance(item, int | float) and 1e5 < abs(item) < 1e13 for item in found)


def changed_run(method: str, recipe: dict[str, Any], values: dict[str, Any]) -> Run | None:
    """A run of the tiny model with changes, or None when they were refused in one line."""
    base = tiny.make_run(method)
    try:
        recipe = validate(Recipe, merge(base.recipe.model_dump(), recipe), "recipe")
        chosen = validate(settings_type(method), values, "settings").model_dump()
    except AmorlipError:
        return None
    return base.model_copy(update={"recipe": recipe, "settings": chosen})


@given(st.sampled_from(sorted(OBJECTIVES)), st.data(), numbers | values)
@FUZZ
def test_what_is_valid_begins_to_train_or_is_refused(tiny_shards, method, data, value):
    assume(not bytes_asked_for(value))
    section = data.draw(st.sampled_from([Recipe, settings_type(method)]))
    change = put(data.draw(st.sampled_from([*keys(section), ("unknown",)])), value)
    run = changed_run(method, *((change, {}) if section is Recipe else ({}, change)))
    if run is None:
        event("refused by the types")
        return
    try:
        made = session.build(run, tiny_shards, World(torch.device("cpu")))
    except AmorlipError as error:
        assert str(error) and "\n" not in str(error)
        event("refused by the run")
    else:
        assert made.steps > 0
        event("begins to train")
