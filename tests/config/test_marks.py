"""Marked keys, and only they, are left out of what stages get."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import pytest

from amorlip.config.base import Affects, Section, mark, nested_sections
from amorlip.config.benchmark import Task
from amorlip.config.corpus import Corpus
from amorlip.config.load import merge, read_yaml
from amorlip.config.recipe import Recipe
from amorlip.config.scale import Scale
from tests.helpers import REPOSITORY
from tests.test_stage_settings import load
from tests.test_stage_settings import settings as stages

CONFIG = REPOSITORY / "config"
OTHER = {
    "corpus": "other", "model": "RN50", "micro_batch_size": 64, "ranks": 2, "epoch_tasks": ["digits"],
    "drop": {"temperature": 0.03, "factor": 0.5}, "init": 10.0, "max": 50.0, "crop_scale_min": 0.7, "local": "copies",
    "crop_scale_max": 0.9, "encode_format": "webp", "encode_quality": 5, "workers": 3,
    "published_pairs": 5, "commit": "0" * 40, "sha256": "0" * 64,
}  # fmt: skip
"""Values of keys for which `other` finds none, since they depend on other keys or are not simple."""


def leaves(section: type[Section], path: tuple[str, ...] = (), above: bool = False) -> Iterator[tuple[Any, ...]]:
    """(path, type, whether it is marked) of every key that is not a mapping, below sections that are always there."""
    for key, field in section.model_fields.items():
        marked = above or mark(section, key) is not None
        direct = [nested for steps, nested in nested_sections(field.annotation) if not steps]
        if direct and direct[0] is field.annotation:
            yield from leaves(direct[0], (*path, key), marked)
        else:
            yield (*path, key), field.annotation, marked


def other(key: str, annotation: Any, value: Any) -> Any:
    """A valid value of the key that is not `value`."""
    if key in OTHER:
        return OTHER[key]
    if typing.get_origin(annotation) is typing.Literal:
        return next(choice for choice in typing.get_args(annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 if value else 1
    if isinstance(value, float):
        return value / 2
    return 0.5 if value is None else f"{value} 2"


def put(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def changed(section: type[Section], data: dict[str, Any], path: tuple[str, ...], annotation: Any) -> tuple[Any, Any]:
    """What stages get before and after a change of one key."""
    before = section.model_validate(data)
    value: Any = before.model_dump()
    for key in path:
        value = value[key]
    after = section.model_validate(merge(before.model_dump(), put(path, other(path[-1], annotation, value))))
    assert after != before
    return before.deciding(), after.deciding()


RECIPE = read_yaml(CONFIG / "scales" / "demo.yaml")["recipe"]
RECIPE = merge(RECIPE, {"augmentation": {"crop_scale_max": 0.95}})


@pytest.mark.parametrize(("path", "annotation", "marked"), leaves(Recipe), ids=lambda value: str(value)[:40])
def test_only_marked_keys_of_a_recipe_are_left_out(path, annotation, marked):
    before, after = changed(Recipe, RECIPE, path, annotation)
    assert (before == after) is marked


@pytest.mark.parametrize(
    ("section", "data", "marked"),
    [
        (
            Corpus,
            read_yaml(CONFIG / "corpora" / "cc3m.yaml"),
            {"title", "published_pairs", "jobs", "processes", "threads", "timeout_s", "retries"},
        ),
        (
            Task,
            read_yaml(CONFIG / "benchmarks" / "demo.yaml")["tasks"]["styles"],
            {"title", "random_score", "commit", "sha256"},
        ),
    ],
)
def test_the_marked_keys_are_those_that_change_no_result(section, data, marked):
    assert {path[-1] for path, _, is_marked in leaves(section) if is_marked} == marked
    for path, annotation, is_marked in leaves(section):
        if is_marked:
            before, after = changed(section, data, path, annotation)
            assert before == after, path


DATA = {
    "scales": (Scale, read_yaml(CONFIG / "scales" / "demo.yaml")),
    "corpora": (Corpus, read_yaml(CONFIG / "corpora" / "demo.yaml")),
}
STAGES = [
    (kind, path, annotation)
    for kind, (section, _) in DATA.items()
    for path, annotation, marked in leaves(section)
    if marked
]


@pytest.mark.parametrize(("kind", "path", "annotation"), STAGES, ids=lambda value: str(value)[:40])
def test_a_marked_key_changes_the_settings_of_no_stage_but_those_that_show_it(kind, path, annotation):
    section, data = DATA[kind]
    value: Any = section.model_validate(data).model_dump()
    for key in path:
        value = value[key]
    new = 4 if path[-1] == "cpus" else 0 if path[-1] == "gpus" else other(path[-1], annotation, value)
    # two nodes need two ranks
    base = {"recipe": {"ranks": 2}, "train_resources": {"cpus": 2}} if path[-1] == "nodes" else {}
    changed = merge(base, put(path, new))
    before, after = (stages(load(overrides={kind: {"demo": keys}})) for keys in (base, changed))
    differing = {stage for stage in before if before[stage] != after[stage]}
    assert differing <= {"study_config", "table", "figure"}


def test_a_mark_below_a_list_or_mapping_is_seen():
    class Item(Section):
        shown: typing.Annotated[int, Affects.DISPLAY] = 0
        """Shown."""
        kept: int = 0
        """Kept."""

    class Holder(Section):
        items: list[Item] = []
        """A list."""
        named: dict[str, list[Item]] = {}
        """A mapping of lists."""
        maybe: Item | None = None
        """A section, or nothing."""

    holder = Holder.model_validate({"items": [{}], "named": {"a": [{}]}, "maybe": {}})
    kept = {"kept": 0}
    assert holder.deciding() == {"items": [kept], "named": {"a": [kept]}, "maybe": kept}
    assert Holder().deciding("named") == {"items": [], "maybe": None}
