"""How transparent pixels are handled. A separate module, since the configuration must not load Pillow for it."""

from __future__ import annotations

from typing import Literal

Transparency = Literal["drop", "white"]
"""`drop`: the colors stored under the transparency are shown; `white`: the image is composed on white."""
