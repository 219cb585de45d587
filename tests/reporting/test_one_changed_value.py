"""A changed number of one evaluation is seen in every format and view of a table, and nowhere else."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from tests.reporting.test_tables import render, with_options

SCALE, METHOD, TASK = "demo", "clip", "digits"
OLD, NEW = 0.25, 0.75
Cells = dict[tuple[int, int, int], str]
"""Table, row, column of a document → text."""


class Tables(HTMLParser):
    """The cells of all tables of a page; a cell that spans rows is part of the first only."""

    def __init__(self, page: str):
        super().__init__()
        self.cells: Cells = {}
        self.place, self.inside = [-1, -1, -1], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.place = [self.place[0] + 1, -1, -1]
        elif tag == "tr":
            self.place[1:] = [self.place[1] + 1, -1]
        elif tag in ("th", "td"):
            self.place[2] += 1
            self.inside, self.cells[tuple(self.place)] = True, ""

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data):
        if self.inside:
            self.cells[tuple(self.place)] += data


def cells_of_tex(text: str) -> Cells:
    tables = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    return {
        (number, row, column): cell
        for number, table in enumerate(tables)
        for row, line in enumerate(table.splitlines())
        for column, cell in enumerate(line.split(" & "))
    }


def cells_of_csv(text: str) -> Cells:
    rows = list(csv.reader(io.StringIO(text)))
    return {(0, row, column): cell for row, cells in enumerate(rows) for column, cell in enumerate(cells)}


CELLS = {
    "csv": cells_of_csv,
    "tex": cells_of_tex,
    "html": lambda text: Tables(text).cells,
    "md": lambda text: Tables(MarkdownIt("gfm-like", {"linkify": False}).render(text)).cells,
}
MARKUP = re.compile(r"\\(textbf|underline)|\*\*|[{}]|\\\\.*$")


@pytest.fixture
def rendered(study, table_experiment):
    """The table before and after, and the study."""
    fake = study(methods=("clip", "siglip", "amorlip_l2log"))
    published = fake.folder / "published.csv"
    rows = [f"{SCALE},{run.method},,{column},20,percent" for run in fake.runs for column in (TASK, "openmoji", "all")]
    published.write_text("\n".join(["scale,method,variant,column,value,unit", *rows]))
    shown = with_options(table_experiment, published="table1")
    paths = fake.evaluations()
    texts = []
    for value in (OLD, NEW):
        path = fake.evaluation(fake.runs[0], TASK, value)
        assert json.loads(path.read_text())["run"]["method"] == METHOD and path in paths
        texts.append(render(fake, shown, paths, published=published))
    return texts


@pytest.mark.parametrize("form", CELLS)
def test_it_is_seen_there_and_nowhere_else(rendered, form):
    before, after = (CELLS[form](text[form]) for text in rendered)
    assert before.keys() == after.keys() and len(before) > 100
    # best and second best may go to other rows: the marks are not numbers
    changed = {
        place for place in before if MARKUP.sub("", before[place]).strip() != MARKUP.sub("", after[place]).strip()
    }
    assert len(changed) == 4  # the number, the average of which it is a part, and their differences from published ones
    numbers = sorted(
        float(MARKUP.sub("", after[place]).strip().replace("−", "-").replace("$-$", "-").replace("$", ""))
        for place in changed
    )
    assert numbers[-1] == 75 and 55 in numbers  # 75 here, 20 published
    rest = {place: text for place, text in after.items() if place not in changed}
    assert "75.00" not in {MARKUP.sub("", text).strip() for text in rest.values()}
    if form == "csv":
        head = {place[2]: text for place, text in before.items() if place[1] == 0}
        places = {(before[0, row, 3], before[0, row, 1], head[column]) for _, row, column in changed}
        assert places == {(view, METHOD, column) for view in ("ours", "difference") for column in (TASK, "all")}
    else:
        assert {table for table, _, _ in changed} == {0, 2}  # measured here, and the difference
        assert all("CLIP" in row_of(before, table, row) for table, row, _ in changed)


def row_of(cells: Cells, table: int, row: int) -> list[str]:
    return [text.strip() for place, text in cells.items() if place[:2] == (table, row)]


def test_notes_stay_as_they_are(rendered):
    before, after = rendered
    notes = [[line for line in text["md"].splitlines() if line.startswith("- ")] for text in (before, after)]
    assert notes[0] == notes[1] and len(notes[0]) > 5
