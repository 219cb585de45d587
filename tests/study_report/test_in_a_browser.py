"""The report in a real browser, opened as a file: skipped where there is no Chromium (`apt install chromium`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from amorlip.study_report.write import write
from tests.helpers import chromium
from tests.study_report.conftest import Made

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium, such as the package chromium-headless-shell"),
]

WIDTHS = (390, 800, 1920)
ANCHORS = ("overview", "tables", "runs", "deviations", "run/demo/amorlip_l2log-seed0", "task/openmoji", "task/styles")
READY = "document.documentElement.dataset.ready == 'yes'"
BROKEN = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
SHOWN = "[...document.querySelectorAll('.page')].filter(page => page.offsetHeight).map(page => page.id)"
OVERLAPPING = """(() => {
  const cells = [...document.querySelectorAll('.page')].filter(page => page.offsetHeight)
    .flatMap(page => [...page.querySelectorAll('dt, dd, p, figcaption, h2, h3, h4')]);
  return cells.filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent.slice(0, 60));
})()"""


FAINT = """(() => {
  const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = element => {
    const color = getComputedStyle(element).backgroundColor;
    return color == "rgba(0, 0, 0, 0)" && element.parentElement ? behind(element.parentElement) : color;
  };
  const ratio = element => {
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const has_text = element => [...element.childNodes].some(node => node.nodeType == 3 && node.textContent.trim());
  return [...document.querySelectorAll("body *")].filter(element => element.offsetHeight && has_text(element))
    .filter(element => ratio(element) < 4.5).map(element => element.outerHTML.slice(0, 80));
})()"""
"""Texts with less contrast than WCAG asks for (level AA)."""


@pytest.fixture(scope="module")
def report(built: Made) -> Path:
    path = built.folder / "browser.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built.folder)
        write(built.study(), Path("results"), path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory):
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_error_no_request_no_horizontal_scroll(page, report, width, dark):
    page.open(report, width=width, dark=dark)
    page.wait_for(READY)
    for anchor in ANCHORS:
        page.go(anchor)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, anchor
        assert page.evaluate(BROKEN) == 0 and page.evaluate(OVERLAPPING) == [] and page.evaluate(FAINT) == []
    assert page.errors() == []
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_one_page_at_a_time(page, report, scripts):
    page.open(report, scripts=scripts)
    if scripts:
        page.wait_for(READY)
    for anchor, shown in (("", "overview"), ("tables", "overview"), ("task/openmoji", "task/openmoji"),
                          ("run/demo/clip-seed0", "run/demo/clip-seed0"), ("runs", "overview")):  # fmt: skip
        page.go(anchor)
        assert page.evaluate(SHOWN) == [shown]


def test_a_link_leads_to_the_run_and_tables_sort(page, report):
    page.open(report)
    page.wait_for(READY)
    page.evaluate("document.querySelector('tr[data-row=\"demo/clip/\"] a').click()")
    page.wait_for("document.title.startsWith('Run clip-seed0')")
    assert page.evaluate("document.activeElement.textContent").startswith("Run clip-seed0")
    table = "document.querySelector('.page:target table.sortable')"
    page.wait_for(f"{table}.dataset.ready == 'yes' && {table}.querySelector('th[aria-sort], .dt-column-order')")
    values = f"[...{table}.tBodies[0].rows].map(row => Number(row.cells[2].dataset.order))"
    before = page.evaluate(values)
    page.evaluate(f"{table}.tHead.rows[0].cells[2].click()")
    assert before != sorted(before) and page.evaluate(values) == sorted(before)
    button = f"{table}.tHead.rows[0].cells[2].querySelector('[role=button]')"
    assert "sort" in page.evaluate(f"{button}.ariaLabel")
    page.evaluate(f"{button}.focus()")
    page.press("Enter")
    page.wait_for(f"{table}.querySelector('th[aria-sort=descending]')")
    assert page.evaluate(values) == sorted(before, reverse=True)
    assert page.errors() == []
