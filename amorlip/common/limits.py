"""How much of a stranger's file is read: bounds far above what real data have, far below what harms a machine."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from amorlip.common.errors import AmorlipError

MOST_IMAGE_BYTES = 1 << 26
"""Of one encoded image."""
MOST_TEXT_BYTES = 1 << 20
"""Of a caption, a label, a metadata vector or the JSON of one sample, and of one pax header."""
MOST_TABLE_BYTES = 1 << 26
"""Of a text file that is read whole: a table of captions, class names, a JSON record."""
MOST_YAML_BYTES = 1 << 18
"""Of a YAML file: PyYAML reads 20 to 100 kB per second. The largest of ours has 11 kB."""


def read_file(path: Path, most: int = MOST_TABLE_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        AmorlipError: if it is larger, or is a device, a pipe or a socket, which could block or never end.
        OSError: if it cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe waits for someone who writes into it.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise AmorlipError(f"{path} is not a regular file; delete it, or name another file")
        data = file.read(most + 1)
    if len(data) > most:
        raise AmorlipError(f"{path} has more than {most / 2**20:g} MiB, which no such file needs; make it again")
    return data


def parse_json(text: bytes | str) -> Any:
    """As `json.loads`, but deep nesting is a ValueError too."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path, most: int = MOST_TABLE_BYTES) -> Any:
    """What a JSON file holds. Raises OSError or AmorlipError like `read_file`, and ValueError if it is not JSON."""
    return parse_json(read_file(path, most))
