"""Miniature evaluation sets, and a model whose features are easily recomputed."""

from tests.helpers.evaluation_sets import encoder, made, sets, task, toy

__all__ = ["encoder", "made", "sets", "task", "toy"]
