"""The stage `artwork`: fetch the pinned packages of drawings and render their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amorlip.config.corpus import EmojiSource, IconSource
from amorlip.config.load import validate
from amorlip.emoji import artwork as emoji
from amorlip.icons import artwork as icons


def run(settings: Mapping[str, Any], output: Path) -> None:
    """Fetch the packages and render their pictures.

    `settings` are the keys of the source `emoji`; those of the source `icons` are below a key of that name.
    """
    if "icons" in settings:
        icons.build_artwork(validate(IconSource, settings["icons"], "settings: icons"), output)
    else:
        emoji.build_artwork(validate(EmojiSource, settings, "settings"), output)
