"""Which SVG drawings are given to the renderer: it reads files that a drawing names, and ends its process when elements
are nested too deeply."""

from __future__ import annotations

from xml.parsers import expat

MOST_BYTES = 1 << 22
"""The largest drawing of the demo's packages has 0.9 MB."""
MOST_DEPTH = 50
"""Nested elements; the demo's packages have up to 5, and the renderer fails somewhere below 1,000."""
MOST_REFERENCES = 1000
"""From one element to another, which can form a chain."""
ELEMENTS = {
    "svg", "g", "defs", "symbol", "use", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polygon",
    "polyline", "linearGradient", "radialGradient", "stop", "clipPath", "mask", "filter", "feBlend", "feColorMatrix",
    "feComposite", "feFlood", "feGaussianBlur", "feMerge", "feMergeNode", "feOffset",
}  # fmt: skip
"""Those of drawings. Others show pictures and texts, or take a time that the drawing chooses."""


def check_svg(text: str) -> None:
    """Raise ValueError for a drawing that is not well-formed, names a file or an address, or is no simple drawing."""
    if len(text) > MOST_BYTES:
        raise ValueError("the drawing is too large")
    check = _Check()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = check.start, check.end
    parser.StartDoctypeDeclHandler = check.doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f"the drawing is not well-formed: {error}") from error


class _Check:
    def __init__(self) -> None:
        self.depth = self.references = 0

    def start(self, element: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise ValueError(f"the drawing has more than {MOST_DEPTH} nested elements")
        if element.rpartition(":")[2] not in ELEMENTS:
            raise ValueError(f"the drawing has an element '{element}'")
        for name, value in attributes.items():
            is_link = name.rpartition(":")[2] == "href"
            if is_link and not value.startswith("#"):
                raise ValueError(f"the drawing refers to {value}")
            self.references += is_link or "url(" in value
        if self.references > MOST_REFERENCES:
            raise ValueError(f"the drawing has more than {MOST_REFERENCES} references")

    def end(self, _: str) -> None:
        self.depth -= 1

    def doctype(self, *_: object) -> None:
        raise ValueError("the drawing has a document type, which may define entities")
