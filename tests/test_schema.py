"""Schemas and key tables agree with the types."""

from __future__ import annotations

import json
import re
from pathlib import Path

from amorlip import schema
from amorlip.config import Optimizer

REPOSITORY = Path(__file__).parent.parent


def test_generated_files_are_current():
    assert schema.generate(REPOSITORY, check=True) == []


def test_schemas_refuse_unknown_keys():
    for name, text in schema.schemas().items():
        assert json.loads(text)["additionalProperties"] is False, name


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
