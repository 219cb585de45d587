"""Servers' wishes in the header X-Robots-Tag: images that must not be used for training or listed.

img2dataset's own check takes everything before the first colon for a crawler's name, so that it misses `noai` in
`max-image-preview:none, noai`.
"""

from __future__ import annotations

import re
from collections.abc import Container
from http.client import HTTPMessage

DIRECTIVES = ["noai", "noimageai", "noindex", "noimageindex", "none"]
"""Those that img2dataset obeys by default, and `none`, which stands for `noindex, nofollow`."""
WITH_VALUE = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
AGENT = re.compile(r"\s*(\*|[A-Za-z][\w.-]*)\s*:(.*)")
"""A crawler's name; what follows is for this one, up to the next name."""


def is_disallowed(headers: HTTPMessage, user_agent_token: str | None, directives: Container[str]) -> bool:
    """Whether an answer's headers forbid to use it, for everybody or for `user_agent_token` (lower case)."""
    for header in headers.get_all("X-Robots-Tag", []):
        agent: str | None = None
        for text in header.split(","):
            directive = text
            if found := AGENT.fullmatch(text):
                name = found[1].lower()
                if name in WITH_VALUE:
                    continue
                agent, directive = None if name == "*" else name, found[2]
            if agent in (None, user_agent_token) and directive.strip().lower() in directives:
                return True
    return False
