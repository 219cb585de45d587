"""The example of docs/adding-a-method.md, taken from the text and run."""

from __future__ import annotations

import re
import sys
import types

import pytest
import yaml

from amorlip.config import objectives
from amorlip.config.method import Method
from amorlip.objectives import registry
from tests.helpers import REPOSITORY
from tests.helpers import objectives_reference as reference

TEXT = (REPOSITORY / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
KEYS, MODULE, LINE, YAML = (match.group(1) for match in re.finditer(r"```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def decoupled(monkeypatch):
    """The example, registered."""
    scope = dict(vars(objectives))
    exec(compile(KEYS, "objectives.py", "exec"), scope)
    monkeypatch.setattr(objectives, "Decoupled", scope["Decoupled"], raising=False)
    module = types.ModuleType("amorlip.objectives.decoupled")
    exec(compile(MODULE, "decoupled.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (entry,) = eval("{" + LINE + "}", scope).items()
    monkeypatch.setitem(objectives.OBJECTIVES, *entry)
    return entry[0]


def test_it_is_short():
    assert sum(len(part.splitlines()) for part in (KEYS, MODULE, LINE, YAML)) < 60


def test_configuration_is_valid(decoupled):
    method = Method(**yaml.safe_load(YAML))
    assert method.objective == decoupled
    assert objectives.settings_type(method.objective)(**method.settings).positive_weight == 0.0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_objective_is_its_formula(decoupled, weight):
    features = reference.make_features()
    loss = registry.create(decoupled, {"positive_weight": weight}, reference.make_context())(features).loss
    log_z, positive = reference.log_partitions(features, weight), reference.logits(features).diagonal()
    expected = 0.5 * (log_z - positive).mean(1).sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    assert reference.error(reference.gradients(loss, features), reference.gradients(expected, features)) < 1e-10
