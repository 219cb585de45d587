"""The tables of the stage `table` as parts of the report: their HTML with links from rows to runs, columns to tasks.

Only the elements and attributes of a table pass, so nothing else can come with a file that someone changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from html.parser import HTMLParser

from markupsafe import Markup

from amorlip.study_report.private import shown

ELEMENTS = {
    "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "span", "b", "u", "i", "em", "strong", "small",
    "sup", "sub", "br", "ul", "ol", "li", "p",
}  # fmt: skip
ATTRIBUTES = {"class", "colspan", "rowspan", "scope", "data-row", "data-column"}
DROPPED = {"head", "style", "script", "title", "template", "iframe", "object", "svg"}
"""Elements that are left out with what they contain."""
VOID = {"br", "meta", "link", "img", "input", "hr"}


class _Rewriter(HTMLParser):
    """Writes a page's tables again, with links."""

    def __init__(self, title: str, rows: Mapping[str, Sequence[tuple[str, str]]], columns: Mapping[str, str]) -> None:
        super().__init__(convert_charrefs=True)
        self.title = title
        self.rows, self.columns = rows, columns
        self.written: list[str] = []
        self.tables = 0
        self.dropped = 0
        """Depth inside elements that are left out."""
        self.links: Sequence[tuple[str, str]] = ()
        """Of the row that is being written, to put into its first heading of scope `row`."""
        self.heading = ""
        """Kind of the heading that is open: row, col, or nothing."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED:
            self.dropped += 1
        if self.dropped or tag not in ELEMENTS:
            return
        given = {key: value or "" for key, value in attrs}
        if tag == "tr":
            published = "published" in given.get("class", "").split()  # such a number is of no run
            self.links = () if published else self.rows.get(given.get("data-row", ""), ())
        if tag == "th":
            self.heading = given.get("scope", "")
        if tag == "table":  # it scrolls by itself, also with the keyboard
            self.tables += 1
            label = escape(f"{self.title}, table {self.tables}")
            self.written.append(f'<div class="wide" role="region" aria-label="{label}" tabindex="0">')
        kept = "".join(f' {key}="{escape(given[key])}"' for key in given if key in ATTRIBUTES)
        self.written.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in DROPPED and self.dropped:
            self.dropped -= 1
            return
        if self.dropped or tag not in ELEMENTS or tag in VOID:
            return
        if tag == "th":
            if self.heading == "row" and self.links:
                self.written.append(_row_links(self.links))
                self.links = ()
            self.heading = ""
        self.written.append(f"</{tag}>" + ("</div>" if tag == "table" else ""))

    def handle_data(self, data: str) -> None:
        if self.dropped:
            return
        text = str(shown(data))
        target = self.columns.get(data.strip()) if self.heading == "col" else None
        self.written.append(f'<a href="#{escape(target)}">{escape(text)}</a>' if target else escape(text))


def _row_links(links: Sequence[tuple[str, str]]) -> str:
    """The runs of a row, behind its title."""
    anchors = [f'<a href="#{escape(target)}">{escape(title)}</a>' for title, target in links]
    return f' <span class="runs">{" ".join(anchors)}</span>'


def linked(page: str, title: str, rows: Mapping[str, Sequence[tuple[str, str]]], columns: Mapping[str, str]) -> Markup:
    """The tables of a page of the stage `table`.

    Args:
        page: the HTML file.
        title: what a screen reader calls them.
        rows: `scale/method/variant` of a row → (title, anchor) of its runs.
        columns: a column's title → anchor of its task.
    """
    rewriter = _Rewriter(title, rows, columns)
    rewriter.feed(page)
    rewriter.close()
    return Markup("".join(rewriter.written))
