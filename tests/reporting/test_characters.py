"""Every character of a title, caption, note or name comes out as it was written, in every format.

The places are those where a user's text is shown; each is filled with texts that mean something to one of the formats.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from docutils.core import publish_parts
from markdown_it import MarkdownIt
from matplotlib.text import Text

from amorlip.config import experiment as options
from amorlip.config.display import CorpusLabel, TableSettings, external_label
from amorlip.config.experiment import Experiment
from amorlip.reporting import figures, latex, markdown, report_text, style, tables
from tests.helpers.latex import compile_latex, each_compiler

pytestmark = pytest.mark.slow  # draws dozens of figures

TEXTS = {
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "one dollar": "CLIP ($5 a run)",
    "two dollars": "from $5 to $9",
    "broken mathematics": "$a_{b$ on {x}",
    "mathematics": "$\\alpha^2$ and $$x_1$$ and \\(y\\)",
    "LaTeX": "\\input{x} \\alpha 100% #1 a_b a&b ~ ^ {}",
    "ligatures": "a--b ---c ''d'' ``e`` <<f>> ,,g ?`h !`i \"j\" 'k'",
    "Markdown": "**a** *b* _c_ __d__ ~~e~~ `f` [g](h) ![i](j) <k> &amp; | l # m",
    "Markdown's list": "- a",
    "Markdown's number": "1. a",
    "HTML": "<b>a</b> <script>alert('b')</script> &lt; &amp; \"c\"",
    "reStructuredText": "a_ `b`_ |c| **d *e ``f :g:`h` .. i:: j [1]_ k::",
    "Jinja": "{{ a }} {% b %} {# c #} {d} {e!r}",
    "comma and quotes": 'a, "b", c; d\te',
    "line break": "a\nb\r\nc",
    "accents": "café naïve Ångström Škoda Łódź Straße ç ñ ő ą þ ð đ ŋ ạ̈ e\u0301 ﬁ",
    "dashes and quotes": "a – b — c … “d” ‘e’ «f» „g‟ ‚h‛ ‹i› ± × ° µ § © €",
    "Greek": "α β γ τ λ Ω Σ ε ά ϕ",
    "Cyrillic": "Модель",
    "Hebrew and Arabic": "מודל نموذج",
    "Devanagari and Thai": "मॉडल แบบจำลอง",
    "Chinese, Japanese, Korean": "模型 モデル 모델",
    "emoji": "🎨 👩🏽‍🚀 ❤️ 🇯🇵",
    "invisible": "a\u00a0b\u200bc\u00add\ufeffe",
}
each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def one_line(text: str) -> str:
    """What a reader should see: line breaks and repeated spaces are one space."""
    return " ".join(text.split())


# ---------------------------------------------------------------- tables


def everywhere(study, text: str) -> TableSettings:
    """A table with `text` in every place that takes text."""
    fake = study()
    tasks = {key: task.model_copy(update={"title": f"{text} {key}"}) for key, task in fake.benchmark.tasks.items()}
    averages = {key: one.model_copy(update={"title": text}) for key, one in fake.benchmark.averages.items()}
    groups = [group.model_copy(update={"title": text}) for group in fake.benchmark.columns]
    changes = {"title": text, "tasks": tasks, "averages": averages, "columns": groups}
    fake.benchmark = fake.benchmark.model_copy(update=changes)
    fake.title_of_methods, fake.title_of_scales = dict.fromkeys(fake.methods, text), text
    manifest = fake.folder / "manifest.json"
    record = {"corpus": "c", "split": "train", "requested": 3, "downloaded": 2, "failed": {}, "yield": 0.5,
              "samples": 2, "refused": {}, "max_sample_id": 2, "digest": "0", "shards": []}  # fmt: skip
    manifest.write_text(json.dumps(record))
    evaluations = fake.evaluations()
    missing = fake.evaluation(fake.runs[0], "digits", None)
    missing.write_text(json.dumps({**json.loads(missing.read_text()), "missing": text}))
    other = external_label("vit", text)
    evaluations += [fake.evaluation(other, task, 0.5) for task in fake.benchmark.tasks]
    chosen = {"notes": [text, f"Note: {text}"], "heads": dict.fromkeys(options.Heads.model_fields, text)}
    chosen |= {"published": "p", "later_work": "l", "cost": "memory"}
    experiment = Experiment(kind="table", function="comparison", title=text, caption=text, options=chosen)
    return fake.shown(
        experiment, runs=[*fake.runs, other], evaluations=evaluations, manifests=[manifest],
        corpora={"c": CorpusLabel(title=text, published_pairs=5)}, **printed(fake.folder, text),
    )  # fmt: skip


def printed(folder: Path, text: str) -> dict[str, Path]:
    """A file of published numbers, and one of other authors' with `text` for all that they say."""
    columns = ["scale", "method", "variant", "column", "value", "unit", "corpus", "pairs", "source", "title"]
    for name in ("published", "later_work"):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerows([columns, ["demo", "clip", "", "digits", 12.34, "percent", text, "", text, text]])
    return {name: folder / f"{name}.csv" for name in ("published", "later_work")}


def render(settings: TableSettings, folder: Path) -> dict[str, str]:
    """Format → content."""
    outputs = {form: folder / f"table.{form}" for form in ("csv", "md", "tex", "html")}
    tables.write("table", settings, outputs)
    return {form: path.read_bytes().decode() for form, path in outputs.items()}


class Visible(HTMLParser):
    """The text of each cell, item and heading, and the tags there are."""

    def __init__(self, page: str):
        super().__init__()
        self.parts: list[str] = [""]
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.parts += [""] if tag not in ("b", "u", "em", "strong", "ins", "small", "span", "br") else []
        self.parts[-1] += " " if tag == "br" else ""

    def handle_data(self, data):
        self.parts[-1] += data

    @property
    def texts(self) -> set[str]:
        return {one_line(part) for part in self.parts}


def expected_texts(text: str) -> set[str]:
    """What must be seen somewhere: the text alone (titles, headings, notes) and inside sentences."""
    text = one_line(text)
    return {text, f"Note: {text}", one_line(f"{text}: plain mean of all 9 tasks.")}


@each_text
def test_html_shows_it(study, tmp_path, text):
    page = Visible(render(everywhere(study, text), tmp_path)["html"])
    assert expected_texts(text) <= page.texts
    assert not page.tags & {"script", "input"} and page.parts.count("") < 10_000
    assert {"b", "u", "table", "li"} <= page.tags


@each_text
def test_markdown_shows_it(study, tmp_path, text):
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(render(everywhere(study, text), tmp_path)["md"])
    page = Visible(rendered)
    assert expected_texts(text) <= page.texts
    assert not page.tags & {"script", "a", "img", "code", "s", "ol", "h1", "h2"}
    rows = rendered.count("<tr>")
    assert rows == 3 + (1 + 2 + 1) + 2 + 1  # headings; chance, two methods, other weights; published; difference


@each_text
def test_csv_is_read_back(study, tmp_path, text):
    """Titles are not in it: rows and columns are named by keys, which a program can rely on."""
    rows = list(csv.DictReader(io.StringIO(render(everywhere(study, text), tmp_path)["csv"])))
    assert [row["method"] for row in rows] == ["chance", "clip", "amorlip_l2log", "vit", "clip", "clip"]
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.parametrize("character", [chr(number) for number in range(32, 127)])
def test_markdown_and_rst_escape_each_character_wherever_it_is(character):
    for text in (f"a{character}b", f"a {character}b{character} c", f"{character} a", f"a {character}", character * 3):
        html = MarkdownIt("gfm-like", {"linkify": False}).render(f"- {markdown.escape(text)}")
        assert one_line(text) in Visible(html).texts, text
        html = publish_parts(report_text.caption(f"A {text}"), writer="html", settings_overrides={"halt_level": 1})
        assert one_line(f"A {text}") in Visible(html["body"]).texts, text


# ---------------------------------------------------------------- LaTeX


def test_latex_of_ascii_by_hand():
    assert latex.escape(TEXTS["punctuation"]) == (
        r"!\texttt{" + '"' + r"}\#\$\%\&'(){*}+,-./:;$<$=$>$?@{[}\textbackslash{}{]}\textasciicircum{}\_`\{$|$\}"
        r"\textasciitilde{}"
    )


@pytest.mark.parametrize("character", [chr(number) for number in range(32, 127)])
def test_latex_leaves_no_special_character_bare(character):
    """Whatever is left after the commands and their braces are taken away means nothing to LaTeX."""
    bare = re.sub(r"\\[&%$#_{}]|\\[a-z]+\{\}|\$[<>|]\$|\{[][*]\}|\\texttt\{\"\}", "", latex.escape(character))
    assert not set(bare) & set('\\&%$#_{}~^<>|"')


@each_text
def test_latex_is_one_line_and_names_what_it_cannot_print(text):
    escaped = latex.escape(text)
    assert "\n" not in escaped and "\r" not in escaped
    outside = re.sub(r"\\unicodecharacter\{.\}\{[0-9A-F]{4,6}\}", "", escaped)
    assert outside.isascii()


def test_latex_prints_accents_and_greek_by_commands_that_every_encoding_has():
    assert latex.escape("café Å Ł ß τ ő e\u0301") == r"caf\'{e} \r{A} \L{} \ss{} $\tau$ \H{o} \'{e}"
    assert latex.escape("モ") == r"\unicodecharacter{モ}{30E2}"


@each_compiler
def test_latex_compiles(study, tmp_path, compiler):
    """One document with a table per text."""
    parts = []
    for name, text in TEXTS.items():
        folder = tmp_path / re.sub(r"\W", "_", name)
        folder.mkdir()
        parts.append(render(everywhere(lambda folder=folder: study(folder=folder), text), folder)["tex"])
    compile_latex(compiler, parts, tmp_path)


# ---------------------------------------------------------------- report


@each_text
def test_a_caption_is_shown_as_it_was_written(text):
    paragraphs = f"First {text}\n\n{text} second."
    parts = publish_parts(
        report_text.caption(paragraphs), writer="html", settings_overrides={"halt_level": 1, "report_level": 1}
    )
    page = Visible(parts["body"])
    assert {one_line(f"First {text}"), one_line(f"{text} second.")} <= page.texts
    assert page.tags <= {"p"}


@each_text
def test_a_label_has_no_wildcard_and_looks_the_same(text):
    from snakemake.io import apply_wildcards

    label = report_text.label(text)
    assert apply_wildcards(label, {}) == label
    assert label.replace("\u2060", "") == one_line(text)


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize("function", options.FIGURES)
@pytest.mark.filterwarnings("error")
def test_a_figure_shows_them_all(study, tmp_path, capsys, function):
    """As titles of variants in the legend, or, where each variant would be a panel, of tasks."""
    texts = list(TEXTS.values())
    fake = study(variants=tuple(texts), epochs=1, log_every_steps=10)
    if function in ("difference_to_baseline", "sweep"):
        # a sweep's panel has its scale's title, too, if there are several
        scales = ("a",) if function == "sweep" else ("a", "b")
        fake = study(scales=scales, title_of_scales=TEXTS["punctuation"] + " SCALE")
        task = fake.benchmark.tasks["digits"]
        tasks = {f"t{number}": task.model_copy(update={"title": text}) for number, text in enumerate(texts)}
        fake.benchmark = fake.benchmark.model_copy(update={"tasks": tasks, "averages": {}, "columns": []})
        fake.title_of_methods = {"clip": TEXTS["two dollars"], "amorlip_l2log": TEXTS["broken mathematics"]}
    chosen, fields = fake.filled(function)
    if function == "sweep":
        chosen["columns"] = list(fake.benchmark.tasks)
    experiment = Experiment(kind="figure", function=function, title="t", caption="c", options=chosen)
    settings = fake.shown(experiment, **fields)
    with style.context(settings.style):
        figure = figures.FUNCTIONS[function](settings, options.options_type("figure", function)(**chosen))
        style.save(figure, {form: tmp_path / f"x.{form}" for form in ("png", "pdf")}, 50)
        parts = figure.findobj(Text)
    assert not [part for part in parts if part.get_parse_math()]
    unseen = r"[\s\u200b\u00ad\ufeff]"  # and a long word may be broken
    assert {re.sub(unseen, "", text) for text in texts} <= {re.sub(unseen, "", part.get_text()) for part in parts}
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    for character in set("".join(texts)) - set(" \r\n\t\u200b\u00ad\ufeff"):
        assert (f"(U+{ord(character):04X})" in printed) == (ord(character) not in dejavu())


def dejavu() -> dict[int, int]:
    """What the figures' font can draw."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    return get_font(fontManager.findfont(FontProperties(family=style.FONT))).get_charmap()


def test_the_log_of_a_figure_holds_one_line_and_no_warning(study, tmp_path):
    """In a process of its own, as the rule runs it."""
    fake = study(epochs=1)
    fake.title_of_methods = {"clip": "モデル", "amorlip_l2log": "$x"}
    settings = fake.shown(Experiment(kind="figure", function="training_curves", title="t", caption="c"))
    script = (
        "import json, sys; from pathlib import Path; from amorlip.stages import figure; folder = Path(sys.argv[1])\n"
        "figure.run(json.load(sys.stdin), 'x', [folder / 'x.png', folder / 'x.pdf'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], input=settings.model_dump_json(), text=True, capture_output=True
    )
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("\n") == 1 and "lacks デ (U+30C7), モ (U+30E2), ル (U+30EB)" in done.stdout
