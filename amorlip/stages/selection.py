"""The stage `selection`: the study's top-level configuration, beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from amorlip.common import files


def run(settings: Mapping[str, Any], output: Path) -> None:
    """Write the top-level configuration of a study, command-line changes included."""
    files.write_text(output, yaml.safe_dump(settings, sort_keys=False))
