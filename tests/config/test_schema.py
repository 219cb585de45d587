"""Schemas and key tables agree with the types."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from amorlip.config import schema
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
        ("settings.amorlip_l2log", "beta_max", 1.0),
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


def test_the_tables_list_nested_keys_with_defaults():
    tables = schema.key_tables()
    for key in Optimizer.model_fields:
        assert f"`recipe.optimizer.{key}`" in tables
    assert re.search(r"`recipe.optimizer.weight_decay` \| number \| `0.2` \|", tables)
    assert "`tasks.*.source.kind`" in tables
