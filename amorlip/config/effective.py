"""Keys that change nothing, given the values of others: two runs that differ in such keys only train the same model.

This is for a warning; what runs again after a change is decided in `amorlip/stage_settings.py`.
"""

from __future__ import annotations

from typing import Any

from amorlip.config.base import Section
from amorlip.config.objectives import Amorlip, AmorlipFDiv, FastClip
from amorlip.config.recipe import Recipe, pairs_per_rank

NETWORK_KEYS = frozenset(AmorlipFDiv.model_fields) - {
    "beta_max", "beta_horizon_epochs", "beta_counts_from", "positive_weight", "normalizer", "estimator", "memory_pairs",
    "corpus_every_steps", "amortize", "negatives", "rho", "rho_schedule",
}  # fmt: skip
"""Keys of AmorLIP that reach the loss through the networks only."""


def effective(objective: str, settings: Section, recipe: Recipe) -> dict[str, Any]:
    """What decides the weights of a run, except its seed: flat, `recipe.optimizer.lr` → value, without idle keys."""
    idle = {*_idle_settings(settings, recipe), *_idle_recipe(recipe)}
    unused = {key.removeprefix("settings.") for key in idle} | {"target_negatives"}
    without_networks = isinstance(settings, Amorlip) and unused >= NETWORK_KEYS
    values = {
        "objective": "amorlip" if without_networks else objective,  # without networks, both objectives are one
        **_flat("settings", settings.deciding()),
        **_flat("recipe", recipe.deciding()),
    }
    return {key: value for key, value in values.items() if not any(f"{key}.".startswith(f"{name}.") for name in idle)}


def _idle_settings(settings: Section, recipe: Recipe) -> set[str]:
    idle: set[str] = set()
    if isinstance(settings, Amorlip):
        if settings.beta_max == 0 or recipe.epochs == 1:  # β is 0 in the first epoch: nothing is mixed in (Eq. 12)
            idle |= {"beta_counts_from"} | ({"beta_horizon_epochs"} if settings.alpha_schedule == "constant" else set())
            if settings.normalizer == "combined":  # so λ is the batch's own Z
                idle |= NETWORK_KEYS | {"beta_max", "beta_horizon_epochs", "estimator"}
                idle |= {"memory_pairs", "corpus_every_steps"}
        if settings.estimator != "networks":
            idle |= NETWORK_KEYS - {"target_negatives"}
        if settings.estimator != "memory":
            idle.add("memory_pairs")
        if settings.estimator != "corpus":
            idle.add("corpus_every_steps")
        if recipe.epochs == 1:
            idle |= {"reinitialize", "beta_max"}
        if recipe.ranks == 1:
            idle |= {"negatives", "target_negatives", "lr_rule"}
    if isinstance(settings, FastClip):
        idle |= {"rho"} if settings.version != "v3" else set()
        idle |= {"gamma_horizon_epochs"} if settings.gamma == 1 else set()
    return {f"settings.{key}" for key in idle}


def _idle_recipe(recipe: Recipe) -> set[str]:
    idle = {"recipe.epoch_tasks", "recipe.log_every_steps"}
    if not recipe.logit_scale.learnable:
        idle |= {f"recipe.logit_scale.{key}" for key in ("lr", "drop", "max")}
    if recipe.micro_batch_size in (None, pairs_per_rank(recipe.batch_size, recipe.ranks)):
        idle.add("recipe.micro_batch_size")
    return idle


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}.{part}", inner).items()}


def differing(one: Section, other: Section) -> list[str]:
    """The keys whose values differ, nested ones joined by `.`."""
    first, second = (_flat("", section.deciding()) for section in (one, other))
    return [key.lstrip(".") for key in {**first, **second} if first.get(key) != second.get(key)]
