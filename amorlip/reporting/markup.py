"""A table of results as Markdown, LaTeX and HTML.

The content is made once, as a `Layout`; each format only has a template. Best and second best are bold and underlined
in all three. LaTeX needs the package booktabs; HTML is one page without outside files.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Literal

from jinja2 import Environment, StrictUndefined

MISSING = "–"
"""What stands for a number that is not there."""


@dataclass(frozen=True)
class Cell:
    """One number, ready to print."""

    text: str = ""
    """The number, or `MISSING`, or nothing."""
    spread: str = ""
    """What follows ±, if anything does."""
    rank: int = 0
    """1 best, 2 second best of its column and block, 0 neither."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    cells: list[Cell]
    kind: Literal["measured", "published", "chance"] = "measured"
    origin: str = ""
    """Which runs it comes from, shown on hovering in HTML."""


@dataclass(frozen=True)
class Block:
    """Rows that are compared with each other: those of one scale."""

    title: str
    rows: list[Row]


@dataclass(frozen=True)
class Layout:
    """A whole table."""

    name: str
    """Label for references."""
    title: str
    groups: list[tuple[str, int]]
    """Heading and number of columns of each group."""
    columns: list[str]
    """Heading of each column."""
    blocks: list[Block]
    notes: list[str] = field(default_factory=list)
    """Sentences under the table."""

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last column of each group, counted from 1."""
        ends = [sum(count for _, count in self.groups[: index + 1]) for index in range(len(self.groups))]
        return [(end - count + 1, end) for end, (_, count) in zip(ends, self.groups, strict=True)]


# ---------------------------------------------------------------- Markdown


def markdown(layout: Layout) -> str:
    """A pipe table, as Markdown viewers with tables show it; `<ins>` is the underline that they let through."""
    heads = [f"{group}<br>" for group, count in layout.groups for _ in range(count)]
    firsts = {first - 1 for first, _ in layout.spans}
    heads = [head if index in firsts else "<br>" for index, head in enumerate(heads)]
    header = ["Scale", "Method", *(_pipe(head + title) for head, title in zip(heads, layout.columns, strict=True))]
    lines = [f"**{layout.title}**", "", _line(header), _line([":--", ":--", *["--:"] * len(layout.columns)])]
    for block in layout.blocks:
        for index, row in enumerate(block.rows):
            title = f"*{_pipe(row.title)}*" if row.kind != "measured" else _pipe(row.title)
            lines.append(_line([_pipe(block.title) if index == 0 else "", title, *map(_markdown_cell, row.cells)]))
    return "\n".join([*lines, "", *(f"- {note}" for note in layout.notes)]) + "\n"


def _markdown_cell(cell: Cell) -> str:
    mean = {1: f"**{cell.text}**", 2: f"<ins>{cell.text}</ins>"}.get(cell.rank, cell.text)
    return f"{mean} ± {cell.spread}" if cell.spread else mean


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _pipe(text: str) -> str:
    return text.replace("|", "\\|")


# ---------------------------------------------------------------- LaTeX

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "…": r"\dots{}",
    **{character: f"${character}$" for character in "<>|"},
    **{character: f"${command}$" for character, command in (("±", r"\pm"), ("−", "-"), ("×", r"\times"))},
    **{character: f"${command}$" for character, command in (("τ", r"\tau"), ("λ", r"\lambda"), ("→", r"\to"))},
}
_LATEX_HEAD = r"""% needs \usepackage{booktabs}; with graphicx, a table wider than the line is shrunk to it
\begin{table}
\centering
\footnotesize
\setlength{\tabcolsep}{3.5pt}"""
_LATEX_FOOT = r"""\bottomrule
\end{tabular}}%
\ifdim\wd0>\linewidth \ifdefined\resizebox \resizebox{\linewidth}{!}{\usebox0}\else \usebox0 \fi\else \usebox0 \fi
\par\smallskip
\begin{minipage}{\linewidth}\raggedright\scriptsize"""


def latex(layout: Layout) -> str:
    """A `table` environment for a document that loads booktabs; `tab:` and the name label it."""
    groups = [rf"\multicolumn{{{count}}}{{c}}{{{_tex(group)}}}" for group, count in layout.groups]
    rules = [rf"\cmidrule(lr){{{first + 2}-{last + 2}}}" for first, last in layout.spans]
    body = [
        " & ".join([_tex(block.title) if index == 0 else "", *_latex_row(row)]) + r" \\"
        + (r" \midrule" if index + 1 == len(block.rows) and block is not layout.blocks[-1] else "")
        for block in layout.blocks
        for index, row in enumerate(block.rows)
    ]  # fmt: skip
    return "\n".join([
        _LATEX_HEAD,
        rf"\caption{{{_tex(layout.title)}}}\smallskip",
        rf"\label{{tab:{layout.name}}}",
        rf"\sbox0{{\begin{{tabular}}{{@{{}}ll{'r' * len(layout.columns)}@{{}}}}",
        r"\toprule",
        " & ".join(["", "", *groups]) + r" \\",
        " ".join(rules),
        " & ".join(["Scale", "Method", *map(_latex_heading, layout.columns)]) + r" \\ \midrule",
        *body,
        _LATEX_FOOT,
        *(_tex(note) + r"\par" for note in layout.notes),
        r"\end{minipage}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _latex_row(row: Row) -> list[str]:
    title = _tex(row.title)
    return [title if row.kind == "measured" else rf"\textit{{{title}}}", *map(_latex_cell, row.cells)]


def _latex_cell(cell: Cell) -> str:
    command = {1: r"\textbf", 2: r"\underline"}.get(cell.rank)
    mean = f"{command}{{{_tex(cell.text)}}}" if command else _tex(cell.text)
    return rf"{mean}\,{{\tiny$\pm$\,{cell.spread}}}" if cell.spread else mean


def _latex_heading(text: str) -> str:
    lines = [_tex(line) for line in textwrap.wrap(text, 12, break_long_words=False)]
    return r"\shortstack[r]{" + r"\\".join(lines) + "}"


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


# ---------------------------------------------------------------- HTML

_PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ table.title }}</title>
<style>
body { margin: 1.5rem; color: #1a1a1a; background: #fff; font: 15px/1.45 system-ui, "DejaVu Sans", Arial, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
caption { text-align: left; font-weight: 600; font-size: 1.1em; padding-bottom: .6em; }
th, td { padding: .25em .6em; }
th { font-weight: 500; text-align: left; }
thead th { vertical-align: bottom; }
thead th.number { max-width: 6em; text-align: right; }
thead th.group { text-align: center; padding: .25em .4em 0; }
thead th.group span { display: block; border-bottom: 1px solid #888; padding-bottom: .25em; }
thead tr:last-child th { border-bottom: 1px solid; }
tbody + tbody tr:first-child > * { border-top: 1px solid #aaa; }
tbody th[rowspan] { vertical-align: top; padding-right: 1.2em; }
tbody th { white-space: nowrap; }
td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td b { font-weight: 700; }
td u { text-decoration-thickness: 1px; text-underline-offset: .2em; }
td small { color: #666; margin-left: .25em; }
tr.chance > .value, tr.published > .value { color: #666; font-style: italic; }
tbody tr:hover > .value { background: #f3f6fa; }
ul { padding-left: 1.1em; max-width: 60em; color: #444; font-size: .88em; }
</style>
</head>
<body>
<div class="wide">
<table>
<caption>{{ table.title }}</caption>
<thead>
<tr><th></th><th></th>
{% for title, count in table.groups %}
<th class="group" colspan="{{ count }}" scope="colgroup"><span>{{ title }}</span></th>
{% endfor %}
</tr>
<tr><th scope="col">Scale</th><th scope="col">Method</th>
{% for title in table.columns %}
<th class="number" scope="col">{{ title }}</th>
{% endfor %}
</tr>
</thead>
{% for block in table.blocks %}
<tbody>
{% for row in block.rows %}
<tr class="{{ row.kind }}">
{% if loop.first %}
<th rowspan="{{ block.rows|length }}" scope="rowgroup">{{ block.title }}</th>
{% endif %}
<th class="value" scope="row"{% if row.origin %} title="{{ row.origin }}"{% endif %}>{{ row.title }}</th>
{% for cell in row.cells %}
{% set tag = ["span", "b", "u"][cell.rank] %}
<td class="value"><{{ tag }}>{{ cell.text }}</{{ tag }}>
{%- if cell.spread %}<small>± {{ cell.spread }}</small>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
{% endfor %}
</table>
</div>
<ul>
{% for note in table.notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
</body>
</html>
"""
)


def page(layout: Layout) -> str:
    """A whole HTML page."""
    return _PAGE.render(table=layout) + "\n"
