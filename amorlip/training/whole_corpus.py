"""The features of all pairs, for objectives that need them between steps."""

from __future__ import annotations

from itertools import islice

import torch

from amorlip.loader.loader import PairLoader
from amorlip.objectives.base import Objective
from amorlip.training import rng, transfer
from amorlip.training.distributed import World
from amorlip.training.step import TrainStep
from amorlip.training.towers import frozen_running_statistics


class WholeCorpus:
    """Encodes all pairs as a training step does: augmented, and in batches of the same size.

    The pairs that are left over by whole batches change from one pass to the next. `loader` has an epoch a pass.
    """

    def __init__(self, loader: PairLoader, step: TrainStep, objective: Objective, world: World) -> None:
        self.loader, self.step, self.objective, self.world = loader, step, objective, world

    @torch.no_grad()
    def encode_if_due(self, step: int) -> None:
        """Before global step `step` (from 0): give all features to the objective, if it needs them now.

        Training is not changed: neither random numbers nor running statistics. Raises AmorlipError for a damaged image.
        """
        every = self.objective.corpus_every_steps
        if every is None or step % every:
            return
        steps = self.loader.steps_per_epoch
        batches = islice(self.loader.batches(step // every * steps), steps)
        with rng.preserved(), frozen_running_statistics(self.step.encoders):
            for batch, ends in transfer.to_device(batches, self.world.device, self.step.text_ends):
                image, text = self.step.encode(batch, ends)
                self.objective.take_corpus(image, text, batch.sample_ids)
