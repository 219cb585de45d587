"""The tables of the report: links from rows to runs and from columns to tasks, and nothing but tables."""

from __future__ import annotations

from amorlip.study_report.fragments import linked

ROWS = {"demo/clip/": [("seed 0", "run/demo/clip-seed0"), ("seed 1", "run/demo/clip-seed1")]}
TABLE = (
    '<table><thead><tr><th scope="col">OpenMoji<span>top-1</span></th><th scope="col">Other</th></tr></thead>'
    '<tbody><tr class="measured" data-row="demo/clip/"><th rowspan="2" scope="rowgroup">Demo</th>'
    '<th scope="row">CLIP &lt;1&gt;</th><td>1.00</td></tr>'
    '<tr class="published" data-row="demo/clip/"><th scope="row">CLIP, published</th><td>2.00</td></tr></tbody></table>'
)


def test_links():
    text = str(linked(TABLE, "Results", ROWS, {"OpenMoji": "task/openmoji"}))
    assert '<a href="#task/openmoji">OpenMoji</a><span>top-1</span>' in text
    assert text.count('href="#run/demo/clip-seed0"') == text.count('href="#run/demo/clip-seed1"') == 1
    assert 'CLIP &lt;1&gt; <span class="runs">' in text
    assert "Demo</th>" in text and "Other</th>" in text and "CLIP, published</th>" in text
    assert text.startswith('<div class="wide" role="region" aria-label="Results, table 1" tabindex="0"><table>')
    assert text.endswith("</table></div>")


def test_only_tables_pass():
    page = (
        "<html><head><title>t</title><style>td {}</style><script>alert(1)</script></head><body onload='x()'>"
        "<table onclick='x()' style='color: red'><tr><td><img src=x onerror='x()'><script>x()</script>"
        "<a href='javascript:x()'>a</a>&lt;script&gt;</td></tr></table><iframe src='x'>i</iframe></body></html>"
    )
    text = str(linked(page, '"><script>', {}, {}))
    assert text == (
        '<div class="wide" role="region" aria-label="&quot;&gt;&lt;script&gt;, table 1" tabindex="0">'
        "<table><tr><td>a&lt;script&gt;</td></tr></table></div>"
    )
