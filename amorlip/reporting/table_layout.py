"""A table of results, ready to print: each format only has a template for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

MISSING = "–"
"""Shown in place of a missing number."""


@dataclass(frozen=True)
class Cell:
    """One number, ready to print."""

    text: str = ""
    """The number, or `MISSING`, or nothing."""
    spread: str = ""
    """What follows ±, if anything does."""
    rank: int = 0
    """1 best, 2 second best of its column and block, 0 neither."""
    value: float = math.nan
    """The number itself, where a difference may be taken from it."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    cells: list[Cell]
    kind: Literal["measured", "published", "chance"] = "measured"
    origin: str = ""
    """Which runs it comes from, shown on hovering in HTML."""
    key: tuple[str, str, str] | None = None
    """Scale, method and variant, where it is a row of the study or a published one."""


@dataclass(frozen=True)
class Block:
    """Rows that are compared with each other: those of one scale."""

    title: str
    rows: list[Row]


@dataclass(frozen=True)
class View:
    """One of the tables that show the same columns: measured, published, or the difference of the two."""

    blocks: list[Block]
    notes: list[str] = field(default_factory=list)
    """Sentences under it."""
    key: str = ""
    """Part of its label for references; empty for the first view."""
    title: str = ""
    """Follows the table's title, where there are several views."""


@dataclass(frozen=True)
class Layout:
    """A whole table."""

    name: str
    """Label for references."""
    title: str
    groups: list[tuple[str, int]]
    """Heading and number of columns of each group."""
    columns: list[str]
    """Heading of each column."""
    metrics: list[str]
    """What each column measures, in a word or two, shown under its heading."""
    views: list[View]
    heads: tuple[str, str] = ("Scale", "Method")
    """Headings of the first two columns; LaTeX has none for the scales, which are lines of their own there."""

    def title_of(self, view: View) -> str:
        """The title of one view."""
        return f"{self.title}: {view.title}" if view.title else self.title

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last column of each group, counted from 1."""
        ends = [sum(count for _, count in self.groups[: index + 1]) for index in range(len(self.groups))]
        return [(end - count + 1, end) for end, (_, count) in zip(ends, self.groups, strict=True)]
