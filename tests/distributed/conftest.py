"""Miniature evaluation sets, and a model whose features are easily recomputed."""

from tests.helpers.evaluation_sets import made, sets, task, toy

__all__ = ["made", "sets", "task", "toy"]
