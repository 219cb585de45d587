"""What several tests use: miniature data, stand-in servers, small runs, references, processes to kill."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
