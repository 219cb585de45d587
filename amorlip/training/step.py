"""One training step: features, objective, gradients, update.

Shape suffixes: B pairs of this rank, M pairs of a micro-batch, D width of the features.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from amorlip import models
from amorlip.common.errors import AmorlipError
from amorlip.config.recipe import Recipe, pairs_per_rank
from amorlip.loader.loader import Batch
from amorlip.objectives.base import Features, Objective
from amorlip.training import distributed, text_padding, towers
from amorlip.training.distributed import World
from amorlip.training.optim import Optimizer, Update, logit_parameters
from amorlip.training.towers import frozen_running_statistics


class Encoders(nn.Module):
    """Both towers of an OpenCLIP model, as one module with one forward pass.

    They run under autocast to `dtype`, if given. Their features are normalized in float32, so that similarities and
    everything after them are float32. With the texts' ends, their padding is not computed. With `compiled` each tower
    is a compiled function here; the model itself is unchanged, so that evaluation, with batches of other sizes, does
    not compile anything.
    """

    def __init__(self, model: CLIP, dtype: torch.dtype | None = None, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.normalize = models.Normalization(model).to(model.logit_scale.device)
        self.encode_levels: Callable[[Tensor], Tensor] = self._encode_levels
        self.encode_text: Callable[[Tensor], Tensor] = model.encode_text
        self.encode_short_texts: Callable[[Tensor], Tensor] = text_padding.ShortTexts(model).encode_short_texts
        if compiled:
            self.encode_levels = towers.Compiled(self.encode_levels)
            self.encode_text = towers.Compiled(model.encode_text)
            self.encode_short_texts = towers.Compiled(self.encode_short_texts)
        self.dtype = dtype
        # cuDNN and oneDNN convolve channels-last images faster; transformers have one convolution only
        convolutional = isinstance(model.visual, ModifiedResNet)
        self.memory_format = torch.channels_last if convolutional else torch.contiguous_format
        model.visual.to(memory_format=self.memory_format)

    def forward(self, images: Tensor, tokens: Tensor, text_ends: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """Images (M, 3, H, W), uint8, and tokens (M, L) → features (M, D) each, float32, of unit length.

        `text_ends` (M,): the number of positions up to each text's end token, on the host; None: all are computed.
        """
        images = images.contiguous(memory_format=self.memory_format)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            image_MD = self.encode_levels(images)
            if text_ends is None:
                text_MD = self.encode_text(tokens)
            else:
                text_MD = text_padding.encode_in_parts(self.encode_short_texts, tokens, text_ends)
        return F.normalize(image_MD.float(), dim=-1), F.normalize(text_MD.float(), dim=-1)

    def _encode_levels(self, images: Tensor) -> Tensor:
        """uint8 levels → features. Compiled, the levels become the first layer's input without further passes."""
        return self.model.encode_image(self.normalize(images))


class BatchFacts(TypedDict):
    """What an objective gets besides features: see `Features`."""

    sample_ids: Tensor
    step: int
    epoch: int
    log: bool


Part = tuple[Tensor, Tensor, np.ndarray | None]
"""Images, tokens and text ends of M pairs."""


class Outcome(NamedTuple):
    """One step's update and the objective's diagnostics (0-d tensors of this rank)."""

    update: Update
    diagnostics: dict[str, Tensor]


class TrainStep:
    """Callable on a batch: computes loss and gradients and updates the model in place."""

    def __init__(self, model: CLIP, objective: Objective, optimizer: Optimizer, recipe: Recipe, world: World) -> None:
        pairs = pairs_per_rank(recipe.batch_size, recipe.ranks)
        self.micro = recipe.micro_batch_size if recipe.micro_batch_size != pairs else None
        self.model, self.objective, self.optimizer, self.world = model, objective, optimizer, world
        self.encoders = _encoders(model, recipe, world)
        # what `to_device` needs, so that the texts' padding is not computed
        self.text_ends = text_padding.end_positions(model) if towers.skips_padding(world.device) else None
        self.statistics = towers.RunningStatistics(self.encoders)
        # the same module, or DistributedDataParallel around it
        self.wrapped = distributed.wrap(self.encoders, world, logit_parameters(model), static=self.micro is None)

    def __call__(
        self, batch: Batch, *, step: int, epoch: int, log: bool, text_ends: np.ndarray | None = None
    ) -> Outcome:
        """Train on `batch`, which is on the device, as global step `step` (from 0); computes diagnostics if `log`.

        `text_ends` (b,): as in `Encoders`. Raises AmorlipError if the GPU runs out of memory.
        """
        facts = BatchFacts(sample_ids=batch.sample_ids, step=step, epoch=epoch, log=log)
        try:
            return self._train_on(batch, text_ends, facts)
        except torch.OutOfMemoryError as error:
            pairs = self.micro or len(batch.images)
            raise AmorlipError(
                f"step {step + 1}: the GPU's memory does not hold a pass of {pairs} pairs; "
                f"set micro_batch_size to a divisor of {pairs} below it, or activation_checkpointing to true"
            ) from error

    def _train_on(self, batch: Batch, ends: np.ndarray | None, facts: BatchFacts) -> Outcome:
        images, tokens, _ = batch
        statistics = self.statistics.flat()
        self.optimizer.zero_grad()
        if self.micro is None:
            image_BD, text_BD = self.wrapped(images, tokens, ends)
            loss, diagnostics = self._differentiate(image_BD, text_BD, facts)
        else:
            loss, diagnostics = self._in_parts(self._parts(batch, ends), facts)
        update = self.optimizer.update(loss, facts["step"])
        self.statistics.restore(statistics, unless=update.applied)
        return Outcome(update, diagnostics)

    def encode(self, batch: Batch, text_ends: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """Features (B, D) of images and texts of `batch`, which is on the device, in the parts of a training step."""
        return self._encode(self._parts(batch, text_ends))

    def _encode(self, parts: list[Part]) -> tuple[Tensor, Tensor]:
        image_BD, text_BD = (
            torch.cat(side_MD) for side_MD in zip(*(self.encoders(*part) for part in parts), strict=True)
        )
        return image_BD, text_BD

    def _parts(self, batch: Batch, ends: np.ndarray | None) -> list[Part]:
        pairs = self.micro or len(batch.images)
        parts_of_ends = [None] * (len(batch.images) // pairs) if ends is None else ends.reshape(-1, pairs)
        return list(zip(batch.images.split(pairs), batch.tokens.split(pairs), parts_of_ends, strict=True))

    def _in_parts(self, parts: list[Part], facts: BatchFacts) -> tuple[Tensor, dict[str, Tensor]]:
        """Features of the whole batch first, without graph; then each part again, with the gradient of its features.

        The gradient is that of the whole batch, for towers without random parts. BatchNorm uses each part's statistics,
        and only the second pass updates its running ones.
        """
        with torch.no_grad(), frozen_running_statistics(self.encoders):
            image_BD, text_BD = (features_BD.requires_grad_() for features_BD in self._encode(parts))
        loss, diagnostics = self._differentiate(image_BD, text_BD, facts)
        assert image_BD.grad is not None and text_BD.grad is not None  # every loss depends on all features
        sizes = [len(images_M) for images_M, *_ in parts]
        gradients = zip(image_BD.grad.split(sizes), text_BD.grad.split(sizes), strict=True)
        for number, (part_M, gradient_MD) in enumerate(zip(parts, gradients, strict=True), start=1):
            # ranks exchange the accumulated gradient once, with the last part
            ddp = self.wrapped if isinstance(self.wrapped, DistributedDataParallel) else None
            with ddp.no_sync() if ddp and number < len(parts) else nullcontext():
                torch.autograd.backward(self.wrapped(*part_M), gradient_MD)
        return loss, diagnostics

    def _differentiate(self, image_BD: Tensor, text_BD: Tensor, facts: BatchFacts) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's loss and diagnostics, after its backward pass to the features' inputs and the logit scale."""
        features = Features(image_BD, text_BD, self.model.logit_scale.exp(), self.model.logit_bias, **facts)
        result = self.objective(features)
        self.optimizer.scale(result.loss).backward()
        return result.loss, result.diagnostics


def _encoders(model: CLIP, recipe: Recipe, world: World) -> Encoders:
    """The encoders with the recipe's `precision`, `compile` and `activation_checkpointing` on this device."""
    towers.mark_causal_attention(model)
    if recipe.activation_checkpointing:
        towers.recompute_activations(model)
    compiled = towers.wants_compilation(recipe.compile, world.device)
    return Encoders(model, towers.autocast_dtype(recipe.precision, world.device), compiled=compiled)
