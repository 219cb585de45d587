"""Schemas and key tables agree with the types."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from amorlip.config import key_tables, schema
from amorlip.config.recipe import Optimizer
from tests.helpers import REPOSITORY


def test_generated_files_are_current():
    assert schema.generate(REPOSITORY, check=True) == []


def test_schemas_refuse_unknown_keys():
    for name, text in schema.schemas().items():
        assert json.loads(text)["additionalProperties"] is False, name


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("settings.amorlip_l2log", "alpha", 1.5),
        ("settings.amorlip_l2log", "beta_max", 1.01),
        ("settings.amorlip_l2log", "f_d", 0.0),
        ("settings.amorlip_l2log", "positive_weight", -0.1),
        ("settings.neuclip", "prototypes", 0),
        ("selection", "seeds", [2**31]),
    ],
)
def test_schemas_refuse_what_is_out_of_bounds(name, key, value):
    document = json.loads(schema.schemas()[f"{name}.schema.json"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: value}, {**document, "required": []})


def test_every_key_is_explained():
    for name, text in schema.schemas().items():
        document = json.loads(text)
        for part in (document, *document.get("$defs", {}).values()):
            for key, value in part.get("properties", {}).items():
                assert value.get("description") or "$ref" in value, f"{name}: {part['title']}.{key}"


def test_the_tables_list_nested_keys_with_types_bounds_and_defaults():
    tables = key_tables.key_tables()
    for key in Optimizer.model_fields:
        assert f"`recipe.optimizer.{key}`" in tables
    assert "| `recipe.optimizer.weight_decay` | number ≥ 0 | `0.2` |" in tables
    assert "| `recipe.optimizer.beta1` | number ≥ 0, < 1 | `0.9` |" in tables
    assert "| `seeds` | list of whole numbers ≥ 0, < 2147483648 | `[0]` |" in tables
    assert "| `tasks.*.source.kind` |" in tables and "| `columns.[].title` |" in tables


def test_the_tables_print_shared_sections_once():
    tables = key_tables.key_tables()
    for key in ("images_per_s", "full_predictions", "t_lambda"):
        assert len(re.findall(rf"^\| `([\w.*]+\.)?{key}`", tables, re.MULTILINE)) == 1, key
    assert "| `evaluate_resources` | [evaluation resources](#evaluation-resources) |" in tables


def test_the_tables_show_which_keys_change_no_result():
    rows = {row.split("`")[1]: row for row in key_tables.key_tables().splitlines() if row.startswith("| `")}
    assert "*Changes no result.*" in rows["recipe.loader.workers"]
    assert "*Changes no result.*" in rows["download.threads"]
    assert "*Changes tables and figures only.*" in rows["published_pairs"]
    assert "*Changes" not in rows["recipe.loader.shuffle_window"]
