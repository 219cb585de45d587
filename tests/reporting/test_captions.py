"""The report's texts render as Snakemake renders them, whatever the configuration holds."""

from __future__ import annotations

import json
import re
from html import unescape
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from snakemake.iocontainers import Params

from amorlip.config.experiment import Experiment, options_type
from amorlip.config.load import read_yaml, validate
from amorlip.reporting import markdown, report_text
from tests.helpers import REPOSITORY

REPORT = REPOSITORY / "workflow" / "report"
EXPERIMENTS = sorted((REPOSITORY / "config" / "experiments").glob("*.yaml"))
LINKS = """
{% for category, _ in categories|dictsort %}
.. _{{ category.name }}: javascript:app.showCategory('{{ category.name|urlencode }}')
{% endfor %}
"""


class Category:
    """A category of the report, ordered by name as Snakemake's."""

    def __init__(self, name: str):
        self.name = name

    def __lt__(self, other: Category) -> bool:
        return self.name < other.name


def render(template: str, categories=(), params=None, **config) -> str:
    """HTML of a report text, refusing undefined names and whatever docutils complains about."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    categories = {Category(name): {} for name in categories}
    given = SimpleNamespace(config=config, params=Params(fromdict=params or {}))
    text = environment.from_string((REPORT / template).read_text() + LINKS).render(
        snakemake=given, categories=categories, files=[]
    )
    return publish_parts(text, writer="html", settings_overrides={"halt_level": 2, "report_level": 2})["html_body"]


def shown(page: str) -> str:
    """The text of a page, with single spaces."""
    return " ".join(unescape(re.sub(r"</?(p|div|span)\b[^<>]*>", " ", page)).split())


@pytest.mark.parametrize("template", [path.name for path in sorted(REPORT.glob("*.rst"))])
def test_texts_need_no_configuration(template):
    assert "<p>" in render(template)


def test_front_text_names_the_study():
    config = {"name": "demo", "scales": ["demo"], "methods": ["clip", "amorlip_l2log"], "seeds": [0, 1]}
    page = render("workflow.rst", ["Tables", "Figures"], benchmark="demo", **config)
    assert "clip, amorlip_l2log" in page and "0, 1" in page
    assert "results/demo/evaluations/SCALE/RUN/TASK.json" in page
    assert "javascript:app.showCategory('Tables')" in page


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_have_known_functions_good_options_and_captions_that_render(path):
    experiment = validate(Experiment, read_yaml(path), path.name)
    validate(options_type(experiment.kind, experiment.function), experiment.options, path.name)
    page = render(f"{experiment.kind}.rst", params={"caption": report_text.caption(experiment.caption)})
    assert " ".join(experiment.caption.split()) in shown(page)


HOSTILE = [
    ".. include:: /etc/hostname",
    ".. raw:: html\n   :file: /etc/hostname",
    ".. raw:: html\n\n   <script>alert(1)</script>",
    "a\n\n.. include:: /etc/hostname\n\nb",
    "a |x|\n\n.. |x| image:: javascript:alert(1)",
    "`x <javascript:alert(1)>`_",
    ":raw-html:`<b>`",
    "<script>alert(1)</script>",
    "{{ snakemake.config }} {% include '/etc/hostname' %}",
    "text::\n\n    literal",
    "__ http://example.org",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_as_they_are(text):
    page = render("figure.rst", params={"caption": report_text.caption(text)})
    assert shown(page).startswith(" ".join(text.split()))
    assert not re.search(r"<(script|a|img|b|pre)\b", page)
    label = report_text.label(text)
    assert "</" not in json.dumps(label) and "<!--" not in json.dumps(label)
    assert label.replace("\u2060", "") == " ".join(text.split())
    cell = markdown.escape(text)
    assert not re.search(r"(?<!\\)[<\[`]", cell)
