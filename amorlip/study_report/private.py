"""Text without paths of this machine: a report is passed on, and they name users, disks and projects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from amorlip.common.printable import printable

REPOSITORY = Path(__file__).resolve().parents[2]
_FOLDERS = re.compile(r"(?<![\w./~…])~?/(?:[^\s/'\"<>|;:,()\[\]{}]+/)+|(?<![\w./~…])~/")
"""The folders of an absolute path, but not those of an address (https://…) or of a relative path."""
_HOME = re.compile(r"(?<![\w./~…])/(?:home|Users)/[^\s/'\"<>|;:,()\[\]{}]+|(?<![\w./~…])/root(?![\w.-])")


def without_paths(text: str) -> str:
    """`text` with paths relative to the working directory or the repository; of others only the last part is left."""
    if "/" not in text:  # most numbers and names of a report
        return text
    for folder in dict.fromkeys((Path.cwd(), Path.cwd().resolve(), REPOSITORY)):
        if folder != Path(folder.anchor):
            text = re.sub(re.escape(str(folder)) + r"(/|(?![\w-]|\.\w))", lambda end: "" if end[1] else ".", text)
    text = text.replace("file:///", "file:/").replace(str(Path.home()), "~")
    return _FOLDERS.sub("…/", _HOME.sub("~", text))


def shown(value: Any) -> Any:
    """What a template prints for `value`: text without paths and control characters; nothing else is changed."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(printable, without_paths(value).split("\n")))
    return value
