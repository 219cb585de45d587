"""A table as one HTML page without external files. Jinja escapes every title, number and note."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined

from amorlip.reporting.table_layout import Layout

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
caption { max-width: calc(100vw - 3rem); position: sticky; left: 0; }
th, td { padding: .25em .6em; }
th { font-weight: 500; text-align: left; }
thead th { vertical-align: bottom; }
thead th.number { max-width: 6em; text-align: right; }
thead th.number span { display: block; font-weight: 400; font-size: .8em; color: #666; }
thead th.group { text-align: center; padding: .25em .4em 0; }
thead th.group span { display: block; border-bottom: 1px solid #888; padding-bottom: .25em; }
thead tr:last-child th { border-bottom: 1px solid; }
tbody + tbody tr:first-child > * { border-top: 1px solid #aaa; }
tbody th { white-space: nowrap; }
tbody th[scope="rowgroup"] { vertical-align: top; padding-right: 1.2em; white-space: normal; }
tbody th[scope="rowgroup"] { min-width: 7em; max-width: 12em; }
td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td b { font-weight: 700; }
td u { text-decoration-thickness: 1px; text-underline-offset: .2em; }
td small { color: #666; margin-left: .25em; }
tr.chance > .value, tr.published > .value { color: #666; font-style: italic; }
tbody tr:hover > .value { background: #f3f6fa; }
ul { padding-left: 1.1em; max-width: 60em; margin-bottom: 2.5em; color: #444; font-size: .88em; }
</style>
</head>
<body>
{% for view in table.views %}
<div class="wide" role="region" tabindex="0" aria-label="{{ table.title_of(view) }}">
<table>
<caption>{{ table.title_of(view) }}</caption>
<thead>
<tr><th></th><th></th>
{% for title, count in table.groups %}
<th class="group" colspan="{{ count }}" scope="colgroup"><span>{{ title }}</span></th>
{% endfor %}
</tr>
<tr><th scope="col">{{ table.heads[0] }}</th><th scope="col">{{ table.heads[1] }}</th>
{% for title in table.columns %}
<th class="number" scope="col">{{ title }}<span>{{ table.metrics[loop.index0] }}</span></th>
{% endfor %}
</tr>
</thead>
{% for block in view.blocks %}
<tbody>
{% for row in block.rows %}
<tr class="{{ row.kind }}"{% if row.key %} data-row="{{ row.key|join("/") }}"{% endif %}>
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
{% for note in view.notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
{% endfor %}
</body>
</html>
"""
)


def html(layout: Layout) -> str:
    """A whole HTML page."""
    return _PAGE.render(table=layout) + "\n"
