"""A table in LaTeX, which compiles with pdfLaTeX, XeLaTeX and LuaLaTeX whichever characters its titles contain."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from amorlip.reporting.table_layout import Block, Cell, Layout, Row, View

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"{{{character}}}" for character in "[]*"},  # `\\` takes a bracket or star after it as an argument
    '"': r'\texttt{"}',  # the text font has only a curly one
    "’": r"\textquoteright{}",
    "‘": r"\textquoteleft{}",
    "”": r"\textquotedblright{}",
    "“": r"\textquotedblleft{}",
    "„": ",{},",
    "‚": ",",
    "–": r"\textendash{}",
    "†": r"\textdagger{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "\u00a0": "~",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "§": r"\S{}",
    "©": r"\copyright{}",
}
_SYMBOLS = r"""
< <  > >  | |  ± \pm  − -  × \times  · \cdot  ÷ \div  ≤ \leq  ≥ \geq  ≠ \neq  ≈ \approx  → \to  ← \leftarrow
∞ \infty  ∈ \in  ∑ \sum  √ \surd  ° ^\circ  ¹ ^1  ² ^2  ³ ^3  « \ll  » \gg  ‹ <  › >  • \bullet  µ \mu
α \alpha  β \beta  γ \gamma  δ \delta  ε \epsilon  ζ \zeta  η \eta  θ \theta  ι \iota  κ \kappa  λ \lambda  μ \mu
ν \nu  ξ \xi  ο o  π \pi  ρ \rho  σ \sigma  τ \tau  υ \upsilon  φ \varphi  χ \chi  ψ \psi  ω \omega
Γ \Gamma  Δ \Delta  Θ \Theta  Λ \Lambda  Ξ \Xi  Π \Pi  Σ \Sigma  Φ \Phi  Ψ \Psi  Ω \Omega
"""
"""Characters that only the mathematics fonts have, each with its command."""
_MATH = dict(zip(_SYMBOLS.split()[::2], _SYMBOLS.split()[1::2], strict=True))
_ACCENTS = {
    "GRAVE ACCENT": "`", "ACUTE ACCENT": "'", "CIRCUMFLEX ACCENT": "^", "TILDE": "~", "DIAERESIS": '"',
    "MACRON": "=", "BREVE": "u", "DOT ABOVE": ".", "RING ABOVE": "r", "DOUBLE ACUTE ACCENT": "H", "CARON": "v",
    "CEDILLA": "c", "DOT BELOW": "d",
}  # fmt: skip
"""Unicode's name of a combining accent → LaTeX's command for it, those that every font encoding has."""
_LIGATURES = re.compile(r"([-'`,])(?=\1)|[?!](?=`)")
"""Characters that LaTeX would join with the next one, into a dash, a quote or a Spanish mark."""
_UNICODE = r"""% XeLaTeX and LuaLaTeX print any character that the document's font has. pdfLaTeX prints those that
% a package declares, and the numbers of the others.
\providecommand\unicodecharacter[2]{\ifdefined\Umathchar #1\else\ifnum"#2<"370 [U+#2]\else
\ifcsname u8:\detokenize{#1}\endcsname #1\else [U+#2]\fi\fi\fi}
"""
_HEAD = r"""% needs \usepackage{booktabs}; with graphicx, a table wider than the line is shrunk to it
"""
_BEGIN = r"""\begin{table}
\centering
\footnotesize
\setlength{\tabcolsep}{3.5pt}"""
_FOOT = r"""\bottomrule
\end{tabular}}%
\ifdim\wd0>\linewidth \ifdefined\resizebox \resizebox{\linewidth}{!}{\usebox0}\else \usebox0 \fi\else \usebox0 \fi
\par\smallskip
\begin{minipage}{\linewidth}\raggedright\scriptsize"""


def latex(layout: Layout) -> str:
    """A `table` environment per view, for a document that loads booktabs; `tab:` and the name label the first."""
    text = "\n".join(_view(layout, view) for view in layout.views)
    return _HEAD + (_UNICODE if r"\unicodecharacter" in text else "") + text


def _view(layout: Layout, view: View) -> str:
    groups = [rf"\multicolumn{{{count}}}{{c}}{{{escape(group)}}}" for group, count in layout.groups]
    rules = [rf"\cmidrule(lr){{{first + 1}-{last + 1}}}" for first, last in layout.spans]
    blocks = ["\n".join([*_block_title(layout, block), *map(_row, block.rows)]) for block in view.blocks]
    return "\n".join([
        _BEGIN,
        rf"\caption{{{escape(layout.title_of(view))}}}\smallskip",
        rf"\label{{tab:{':'.join(filter(None, (layout.name, view.key)))}}}",
        rf"\sbox0{{\begin{{tabular}}{{@{{}}l{'r' * len(layout.columns)}@{{}}}}",
        r"\toprule",
        " & ".join(["", *groups]) + r" \\",
        " ".join(rules),
        " & ".join([escape(layout.heads[1]), *map(_heading, layout.columns, layout.metrics)]) + r" \\ \midrule",
        " \\midrule\n".join(blocks),
        _FOOT,
        *(escape(note) + r"\par" for note in view.notes),
        r"\end{minipage}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def escape(text: str) -> str:
    """`text` on one line, so that LaTeX prints it as it is."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    return _LIGATURES.sub(r"\g<0>{}", "".join(map(_character, line)))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _MATH:
        return f"${_MATH[character]}$"
    if character.isascii():
        return character
    return _accented(character) or rf"\unicodecharacter{{{character}}}{{{ord(character):04X}}}"


def _accented(character: str) -> str | None:
    """A Latin letter with one accent as a command that every font encoding knows: `é` is `\\'{e}`."""
    letter, *accents = unicodedata.normalize("NFD", character)
    if not (letter.isascii() and letter.isalpha() and len(accents) == 1):
        return None
    command = _ACCENTS.get(unicodedata.name(accents[0]).removeprefix("COMBINING "))
    return rf"\{command}{{{letter}}}" if command else None


def _block_title(layout: Layout, block: Block) -> list[str]:
    """A line of its own: a column for it would take the width of the longest."""
    return [rf"\multicolumn{{{len(layout.columns) + 1}}}{{@{{}}l}}{{{escape(block.title)}}} \\"] if block.title else []


def _row(row: Row) -> str:
    title = escape(row.title)
    return " & ".join([title if row.kind == "measured" else rf"\textit{{{title}}}", *map(_cell, row.cells)]) + r" \\"


def _cell(cell: Cell) -> str:
    command = {1: r"\textbf", 2: r"\underline"}.get(cell.rank)
    mean = f"{command}{{{escape(cell.text)}}}" if command else escape(cell.text)
    return rf"{mean}\,{{\tiny$\pm$\,{cell.spread}}}" if cell.spread else mean


def _heading(title: str, metric: str) -> str:
    lines = [escape(line) for line in textwrap.wrap(title, 12, break_long_words=False)]
    lines += [rf"\tiny\textit{{{escape(line)}}}" for line in textwrap.wrap(metric, 12, break_long_words=False)]
    return r"\shortstack[r]{" + r"\\".join(lines) + "}"
