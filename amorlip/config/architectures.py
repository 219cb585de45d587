"""Which architectures and published weights OpenCLIP has, read from its files: importing it would load PyTorch."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OWN = Path(__file__).parent.parent / "architectures"
"""Our architectures; `amorlip.models` adds them to OpenCLIP's."""


def _open_clip() -> Path | None:
    spec = find_spec("open_clip")  # finds the package without running it
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def architectures() -> dict[str, Path]:
    """The names that a recipe's `model` may have → file. Empty if OpenCLIP is not installed where Snakemake runs."""
    package = _open_clip()
    if package is None:
        return {}
    return {path.stem: path for folder in (package / "model_configs", OWN) for path in folder.glob("*.json")}


def needs_hub(model: str, description: Mapping[str, Any]) -> bool:
    """Whether the tokenizer or the text tower of an architecture comes from a hub."""
    text = description["text_cfg"]
    # OpenCLIP chooses SigLIP's tokenizer by the architecture's name
    return bool(text.get("hf_model_name") or text.get("hf_tokenizer_name")) or "siglip" in model.lower()


@cache
def needs_hub_by_name(model: str) -> bool:
    """`needs_hub` of a known architecture."""
    return needs_hub(model, json.loads(architectures()[model].read_text(encoding="utf-8")))


@cache
def published_weights() -> dict[str, frozenset[str]]:
    """Architecture → names of its published weights. Empty if OpenCLIP is missing or lists them in another way.

    pretrained.py lists an architecture's weights as `_RN50 = dict(openai=_pcfg(…), …)`, and the architectures as
    `_PRETRAINED = {"RN50": _RN50, …}`; those trained with QuickGELU are also listed under `RN50-quickgelu`.
    """
    package = _open_clip()
    if package is None or not (package / "pretrained.py").is_file():
        return {}
    module = ast.parse((package / "pretrained.py").read_text(encoding="utf-8"))
    assigned = {
        node.targets[0].id: node.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    listed = assigned.get("_PRETRAINED")
    if not isinstance(listed, ast.Dict):
        return {}
    found: dict[str, frozenset[str]] = {}
    for key, value in zip(listed.keys, listed.values, strict=True):
        call = assigned.get(value.id) if isinstance(value, ast.Name) else value
        if isinstance(key, ast.Constant) and isinstance(call, ast.Call):
            found[str(key.value)] = frozenset(keyword.arg for keyword in call.keywords if keyword.arg)
    return found | {f"{model}-quickgelu": names for model, names in found.items()}
