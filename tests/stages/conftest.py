"""Miniature evaluation sets, and a model whose features are easily recomputed."""

from tests.helpers.evaluation_sets import encoder, sets, task, toy

__all__ = ["encoder", "sets", "task", "toy"]
