"""A run's parts and their common state: data, model, objective, optimizer, step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from open_clip import CLIP
from torch import Tensor

from amorlip import models
from amorlip.config.recipe import Recipe
from amorlip.config.run import Run
from amorlip.loader import local_copy, order
from amorlip.loader.augment import train_transform
from amorlip.loader.loader import Batch, PairLoader, prepare
from amorlip.objectives import per_sample, registry
from amorlip.objectives.base import Context, Objective
from amorlip.training import checkpoint, rng
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer
from amorlip.training.step import TrainStep
from amorlip.training.whole_corpus import WholeCorpus

PASSES_SEED = 1_000_003
"""Added to a run's seed for passes over the whole corpus."""


class Batches(Protocol):
    """What training needs of `PairLoader`."""

    samples: int
    max_sample_id: int
    digest: str
    steps_per_epoch: int

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """All batches from global step `start_step` on."""
        ...


@dataclass(frozen=True)
class Session:
    """What one rank trains with."""

    run: Run
    world: World
    loader: Batches
    model: CLIP
    """Or OpenCLIP's CustomTextCLIP, which has the same methods."""
    objective: Objective
    optimizer: Optimizer
    train_step: TrainStep
    corpus: WholeCorpus | None = None
    """For an objective that needs the features of all pairs."""

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.run.recipe

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return self.recipe.epochs * self.loader.steps_per_epoch

    def state_dict(self, step: int) -> dict[str, Any]:
        """Everything that decides the steps after `step`. Raises AmorlipError if it contains NaN."""
        model, objective = self.model.state_dict(), self.objective.state_dict()
        for name in self._divided():
            del objective[name]
        checkpoint.require_finite(model, "model", step)
        checkpoint.require_finite(objective, "objective", step)
        return {
            "order": order.VERSION,
            "model": model,
            "objective": objective,
            "optimizer": self.optimizer.state_dict(),
            "rng": self.world.gather(rng.capture()),
        }

    def own_state(self, step: int) -> dict[str, Tensor]:
        """What this rank alone knows of that state, besides; {} if there is nothing. Raises AmorlipError for NaN."""
        state = self.objective.state_dict()
        own = {name: state[name] for name in self._divided()}
        checkpoint.require_finite(own, "objective", step)
        return own

    def load_state_dict(self, state: dict[str, Any], parts: Sequence[Mapping[str, Tensor]] = ()) -> None:
        """Restore `state_dict()` and all ranks' `own_state()`, of this number of ranks or another one."""
        self.model.load_state_dict(state["model"])
        objective = dict(state["objective"])
        for name in self.objective.per_sample:
            whole = [part[name] for part in parts] or [objective[name]]
            objective[name] = per_sample.own(whole, self.objective.context)
        self.objective.load_state_dict(objective)
        self.optimizer.load_state_dict(state["optimizer"])
        if len(state["rng"]) == self.world.size:  # with other ranks, no generator is the one that was saved
            rng.restore(state["rng"][self.world.rank])

    def _divided(self) -> tuple[str, ...]:
        return self.objective.per_sample if self.world.size > 1 else ()


def build(run: Run, shards: Path, world: World) -> Session:
    """A session at its start. Raises AmorlipError if settings, corpus and processes don't fit together."""
    recipe = run.recipe
    # of a copy on this node's disk all shards are read, for their checksums: once, not by every rank
    world.while_others_wait(lambda: prepare(shards), here=world.local_rank == 0)
    local = local_copy.folder(recipe.loader.local)
    model = new_model(run)
    open_loader = partial(
        PairLoader,
        shards,
        batch_size=recipe.batch_size,
        transform=train_transform(models.image_size(model), recipe.augmentation),
        tokenizer=models.tokenizer(recipe.model),
        rank=world.rank,
        world_size=world.size,
        shuffle_window=recipe.loader.shuffle_window,
        local=local,
        prepared=True,
    )
    loader = open_loader(epochs=recipe.epochs, seed=run.seed, workers=recipe.loader.workers)
    if local is not None and world.local_rank == 0:
        local_copy.start(shards, local)
    parts = put_together(run, model, loader, world)
    if (every := parts.objective.corpus_every_steps) is None:
        return parts
    # another seed, so that a pair's crop is not the one of its next step; in this process, as passes are short
    passes = open_loader(epochs=1 + parts.steps // every, seed=run.seed + PASSES_SEED, workers=0)
    return replace(parts, corpus=WholeCorpus(passes, parts.train_step, parts.objective, world))


def put_together(run: Run, model: CLIP, loader: Batches, world: World) -> Session:
    """A session on the batches of `loader`."""
    recipe = run.recipe
    # after the weights, which are equal on all ranks; what follows may differ, as dropout
    rng.seed(run.seed + world.rank)
    model.to(world.device)
    objective = registry.create(run.objective, run.settings, _context(run, loader, world))
    optimizer = Optimizer(model, recipe, steps=recipe.epochs * loader.steps_per_epoch, world=world)
    step = TrainStep(model, objective, optimizer, recipe, world)
    return Session(run, world, loader, model, objective, optimizer, step)


def new_model(run: Run) -> CLIP:
    """The model of a run, untrained, on the CPU. Raises AmorlipError for an unknown architecture."""
    scale = run.recipe.logit_scale
    model = models.create(
        run.recipe.model, seed=run.seed, logit_scale_init=scale.init, logit_bias_init=run.recipe.logit_bias_init
    )
    model = cast(CLIP, model)
    model.logit_scale.requires_grad_(scale.learnable)
    return model


def _context(run: Run, loader: Batches, world: World) -> Context:
    return Context(
        embed_dim=models.embed_dim(run.recipe.model),
        samples=loader.max_sample_id + 1,
        batch_size=run.recipe.batch_size,
        epochs=run.recipe.epochs,
        steps_per_epoch=loader.steps_per_epoch,
        seed=run.seed,
        device=world.device,
        rank=world.rank,
        world_size=world.size,
    )
