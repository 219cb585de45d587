"""The stage `study_config`: the study's top-level configuration, next to its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from amorlip.common import files


def run(settings: Mapping[str, Any], output: Path) -> None:
    """Write the top-level configuration of a study, command-line changes included."""
    files.write_text(output, yaml.safe_dump(settings, sort_keys=False))
