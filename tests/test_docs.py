"""The Markdown files: line length of prose, relative links, and the paths, commands and keys that they name."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from amorlip.cli import parser
from tests.helpers import REPOSITORY
from tests.test_repository import tracked

WIDTH = 100
PAGES = tracked("*.md")
ON_GITHUB = "../../actions/"
"""Links to the host's own pages of this repository."""
EXAMPLES = {
    "amorlip/architectures/mine.json",
    "amorlip/reporting/two_tasks.py",
    "config/corpora/birds.yaml",
    "config/benchmarks/birds.yaml",
    "config/experiments/two_tasks.yaml",
    "config/scales/birds.yaml",
}
"""Files that a page tells its reader to write."""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:amorlip|config|docs|envs|tests|workflow|\.ci|\.github)/[\w./-]+)`")


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """The page with its code blocks blanked out, line for line."""
    return FENCE.sub(lambda block: "\n" * block.group().count("\n"), text_of(page))


def code(page: str) -> str:
    """The page's code blocks and spans."""
    blocks = [match.group() for match in FENCE.finditer(text_of(page))]
    return "\n".join(blocks + re.findall(r"`([^`\n]+)`", prose(page)))


def anchors(page: str) -> set[str]:
    """The fragments that a link into the page may have, as GitHub makes them from its headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def too_long(line: str) -> bool:
    """Prose of more than 100 columns; the target of a link and a single long word do not count."""
    shown = re.sub(r"\]\([^)]*\)", "]", line)
    return len(shown) > WIDTH and " " in shown.strip() and not line.startswith(("|", "<!--"))


@pytest.mark.parametrize("page", sorted(PAGES))
def test_prose_is_wrapped(page):
    lines = prose(page).splitlines()
    assert [f"{page}:{number}" for number, line in enumerate(lines, 1) if too_long(line)] == []


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page):
    dead = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target) or target.startswith(ON_GITHUB):
            continue
        path, _, fragment = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        if not file.exists() or (fragment and fragment not in anchors(str(file.resolve().relative_to(REPOSITORY)))):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_named_files_exist(page):
    named = set(PATH.findall(text_of(page))) - EXAMPLES
    assert sorted(path for path in named if not (REPOSITORY / path).exists()) == []


def commands() -> dict[str, set[str]]:
    """Subcommand of `amorlip` → its options."""
    (choices,) = [action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: {flag for action in sub._actions for flag in action.option_strings} for name, sub in choices.items()}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_named_commands_exist(page):
    known, wrong = commands(), []
    joined = code(page).replace("\\\n", " ")
    for name, rest in re.findall(r"^(?:\$ )?amorlip +([a-z]\w*)\b(.*)$", joined, re.MULTILINE):
        if name not in known:
            wrong.append(name)
        else:
            wrong += [f"{name} {flag}" for flag in re.findall(r"(?<!\S)--[a-z][\w-]*", rest) if flag not in known[name]]
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    wrong += [
        f"make {name}" for name in re.findall(r"^make ([a-z][\w-]*)", joined, re.MULTILINE) if name not in targets
    ]
    assert wrong == []


def test_every_page_can_be_found_from_the_index():
    linked = {
        (REPOSITORY / "docs" / target.partition("#")[0]).resolve() for target in LINK.findall(prose("docs/index.md"))
    }
    pages = [Path(page) for page in PAGES if page.startswith("docs/") and page != "docs/index.md"]
    notes = {page for page in pages if page.parent.name == "decisions" and page.name != "README.md"}
    missing = [str(page) for page in pages if page not in notes and (REPOSITORY / page).resolve() not in linked]
    assert missing == []


def test_every_decision_is_in_the_index_and_has_the_same_parts():
    folder = REPOSITORY / "docs/decisions"
    notes = sorted(path.name for path in folder.glob("2*.md"))
    assert sorted(set(re.findall(r"\((2[\w.-]+\.md)\)", text_of("docs/decisions/README.md")))) == notes
    for name in notes:
        text = text_of(f"docs/decisions/{name}")
        parts = re.findall(r"^\*\*(Question|Options|Choice|Why)\.\*\*", text, re.MULTILINE)
        assert parts == ["Question", "Options", "Choice", "Why"], name
        assert re.match(rf"# .+ \({name[:10]}\)\n", text), name


def test_the_picture_of_the_workflow_has_every_rule():
    """The demo has none of the others: other weights, a download divided over several jobs, names of other rules. The
    arrows of the report, which needs all rules, would hide them."""
    others = {"evaluate_external", "weights", "download_part", "tables", "figures", "study_report"}
    rules = "".join((REPOSITORY / file).read_text() for file in tracked("workflow/rules/*.smk"))
    drawn = re.findall(r'^    "(\w+)": \(\d', text_of("docs/pictures/workflow.py"), re.MULTILINE)
    assert set(drawn) == set(re.findall(r"^rule (\w+):", rules, re.MULTILINE)) - others


@pytest.mark.parametrize("page", [*PAGES, *tracked("config/*.yaml"), *tracked("config/experiments/*.yaml")])
def test_targets_come_before_the_configuration(page):
    """Snakemake takes every word after --configfile for a file, up to the next option."""
    text = text_of(page) if page.endswith(".yaml") else code(page)
    given = re.findall(r"--configfile ([\w./-]+(?: [\w./]+)*)", text)
    assert [word for words in given for word in words.split() if not word.endswith(".yaml") and word != "FILE"] == []
