"""Titles and captions as Snakemake's report takes them, so that it shows them as they were written.

No heavy imports: the rules call this before any job.
"""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")
"""ASCII punctuation, all of which reStructuredText lets a backslash escape."""


def caption(text: str) -> str:
    """Plain text as reStructuredText. A blank line begins a paragraph; other line breaks are spaces."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(_MARKUP.sub(r"\\\g<0>", " ".join(paragraph.split())) for paragraph in paragraphs)


def label(title: str) -> str:
    """A title on one line, as a label of the report.

    Snakemake replaces `{name}` in labels by a wildcard, and writes them into a script of its page, which `</script>`
    would end; it has no escape for either. The word joiner after each sign is invisible and keeps it from being taken
    for one.
    """
    return re.sub("[{<]", "\\g<0>\u2060", " ".join(title.split()))
