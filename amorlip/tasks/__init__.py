"""Evaluation sets on disk: their layouts, read and written."""
