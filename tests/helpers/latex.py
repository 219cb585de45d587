"""Compiling the tables in LaTeX, where a LaTeX is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

COMPILERS = [name for name in ("pdflatex", "xelatex", "lualatex") if shutil.which(name)]


def each_compiler(test):
    """Run the test with each LaTeX that is installed; without one it is skipped."""
    skipped = pytest.mark.skipif(not COMPILERS, reason="no LaTeX is installed")
    return pytest.mark.parametrize("compiler", COMPILERS)(skipped(test))


def compile_latex(compiler: str, tables: Sequence[str], folder: Path) -> str:
    """Compile one document with `tables` and a list of them; what the compiler said at last."""
    begin = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\listoftables\n"
    (folder / "document.tex").write_text(begin + "\n\\clearpage\n".join(tables) + "\\end{document}\n")
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    for _ in range(2):  # the second time with the list of tables
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "document.pdf").stat().st_size > 10_000
    return done.stdout
