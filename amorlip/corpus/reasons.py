"""Why addresses could not be downloaded: a short, fixed list, regardless of what servers and libraries say."""

from __future__ import annotations

import functools
import re
from http import HTTPStatus

BOMB = "CV_IO_MAX_IMAGE_PIXELS"
"""In OpenCV's message about an image of too many pixels."""
NO_ANSWER = "no answer recorded"
OTHER = "other"

REASONS = {
    r"has a private address": "private address (see allow_private_addresses)",
    BOMB: "image has too many pixels",
    r"image has too many scans": "image has too many scans",
    r"[Uu]nsupported pixel format": "unsupported pixel format",
    r"answer is too large": "image file is too large",
    r"image too small": "image too small",
    r"not an image|[Ii]mage decoding error|image cannot be decoded|OpenCV\(": "image cannot be decoded",
    r"X-Robots-Tag": "Use of image disallowed by X-Robots-Tag directive",
    r"answer is empty": "answer is empty",
    r"timed out|[Tt]imeout": "timed out",
    r"certificate": "certificate cannot be verified",
    r"SSL|TLS|EOF occurred in violation": "TLS error",
    r"unknown url type|no host given|control characters|codec can't|nonnumeric port|label |Invalid|unknown encoding"
    r"|file not on local host|not a regular file|does not appear to be an IP": "address cannot be used",
    r"Name or service|getaddrinfo|name resolution|No address associated|nodename": "host name cannot be resolved",
    r"refused": "connection refused",
    r"broke off|reset|aborted|[Bb]roken pipe|[Rr]emote end closed|IncompleteRead|incomplete": "connection broke off",
    r"unreachable|No route|Cannot assign": "host cannot be reached",
    r"No such file|Not a directory|Is a directory": "no such file",
    r"Permission denied": "file cannot be read",
    r"BadStatusLine|LineTooLong|got more than|chunk": "not a valid HTTP answer",
}
"""Regular expression → reason; the first that matches counts."""

FINAL = {
    "HTTP Error 404: Not Found",
    "HTTP Error 410: Gone",
    "HTTP Error 451: Unavailable For Legal Reasons",
    "Use of image disallowed by X-Robots-Tag directive",
    "image too small",
    "image has too many pixels",
    "image has too many scans",
    "image file is too large",
    "unsupported pixel format",
    "address cannot be used",
    "no such file",
}
"""Reasons that a further attempt does not change."""


@functools.cache
def plain_reason(message: str) -> str:
    """The reason that an error message stands for: HTTP errors by their status, others from `REASONS`, or `other`."""
    if found := re.search(r"HTTP Error (\d{3})", message):
        return _http_error(int(found[1]))
    return next((reason for pattern, reason in REASONS.items() if re.search(pattern, message)), OTHER)


def _http_error(status: int) -> str:
    try:
        return f"HTTP Error {status}: {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP Error {status}"
