"""Which architectures and published weights OpenCLIP has, read from its files: importing it would load PyTorch."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OWN = Path(__file__).parent.parent / "architectures"
"""Our architectures; `amorlip.models` adds them to OpenCLIP's."""


def _open_clip() -> Path | None:
    spec = find_spec("open_clip")  # finds the package without running it
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def architectures() -> frozenset[str]:
    """The names that a recipe's `model` may have. Empty if OpenCLIP is not installed where Snakemake runs."""
    package = _open_clip()
    if package is None:
        return frozenset()
    return frozenset(path.stem for folder in (package / "model_configs", OWN) for path in folder.glob("*.json"))


@cache
def published_weights() -> frozenset[str]:
    """Every name of published weights, of all architectures. Empty if OpenCLIP is missing or lists them in another way.

    pretrained.py lists an architecture's weights as `_RN50 = dict(openai=_pcfg(…), …)`.
    """
    package = _open_clip()
    if package is None or not (package / "pretrained.py").is_file():
        return frozenset()
    module = ast.parse((package / "pretrained.py").read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(module) if isinstance(node, ast.Call))
    names = (
        keyword.arg
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "dict"
        for keyword in call.keywords
    )
    return frozenset(name for name in names if name)
