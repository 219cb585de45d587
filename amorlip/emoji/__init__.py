"""The demo's own data: emoji by many artists as a corpus and as evaluation sets."""
