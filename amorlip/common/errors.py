"""The exception for what a user can correct, "did you mean", one-line messages, and how a lack of memory is found."""

from __future__ import annotations

import difflib
from typing import Any

from amorlip.common.printable import printable

NO_MEMORY = ("can't allocate memory", "size calculation overflowed", "out of memory", "Unable to allocate")
"""In the messages of PyTorch and NumPy, most of which are plain RuntimeErrors."""


class AmorlipError(Exception):
    """Bad input or a failed step, in one line: what, where, what to do. The command line prints it and exits with 1."""

    def __init__(self, message: str) -> None:
        # keys, values, names and the texts of other libraries may hold line breaks and control characters
        super().__init__(printable(" ".join(message.splitlines())))


class NotAvailable(AmorlipError):
    """Data that are gated, private or do not exist. A retry will not help."""


def one_line(error: BaseException, length: int = 200) -> str:
    """What an exception says, on one line of at most `length` characters and an ellipsis; its type if it says nothing.

    The whole text, not its first line: PyTorch's and YAML's first lines only announce what follows.
    """
    return shortened(" ".join(str(error).split()) or type(error).__name__, length)


def shortened(value: object, length: int = 200) -> str:
    """A value from a stranger's file as text for a message: at most `length` characters and an ellipsis."""
    return printable(str(value), length)


def lacks_memory(error: Exception) -> bool:
    """Whether there was not enough memory, on the CPU or a GPU."""
    if isinstance(error, MemoryError):
        return True
    text = " ".join(str(error).split())
    return isinstance(error, RuntimeError) and any(words in text for words in NO_MEMORY)


MOST_LISTED = 20
"""Of the known names, in a message: OpenCLIP alone has more than a hundred architectures."""


def unknown_key(key: Any, known: Any, what: str = "key") -> str:
    """One line that names an unknown `key` and the nearest of the `known` ones."""
    known = sorted(known)
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    listed = ", ".join(known[:MOST_LISTED]) + (f", … ({len(known)})" if len(known) > MOST_LISTED else "")
    hint = f"did you mean '{near[0]}'?" if near else f"known: {listed or 'none'}"
    return f"unknown {what} '{key}'; {hint}"
