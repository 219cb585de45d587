"""The stage `artwork`: fetch the pinned emoji packages and render their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import EmojiSource
from amorlip.config.load import validate
from amorlip.emoji import artwork


def run(settings: Mapping[str, Any], output: Path) -> None:
    """Fetch the emoji packages and render their pictures."""
    artwork.build_artwork(validate(EmojiSource, settings, "settings"), output)
