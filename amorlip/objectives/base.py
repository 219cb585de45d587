"""What every objective gets and returns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from amorlip.common.errors import AmorlipError
from amorlip.config.base import Section
from amorlip.config.recipe import pairs_per_rank

S = TypeVar("S", bound=Section)
"""Type of an objective's settings."""


@dataclass(frozen=True)
class Context:
    """What an objective may know about the run before its first batch."""

    embed_dim: int
    """Width d of the features."""
    samples: int
    """Rows of per-sample state: the largest sample id + 1."""
    batch_size: int
    """Global batch B; every rank holds b = B / world_size pairs."""
    epochs: int
    steps_per_epoch: int
    seed: int
    device: torch.device | str = "cpu"
    rank: int = 0
    world_size: int = 1


@dataclass
class Features:
    """A rank's pairs in one step. The first four tensors carry gradients."""

    image_features: Tensor
    """(b, d) L2-normalized."""
    text_features: Tensor
    """(b, d) L2-normalized; row i belongs to row i of `image_features`."""
    logit_scale: Tensor
    """() τ, already exponentiated."""
    logit_bias: Tensor | None
    """() bias of the logits, or None."""
    sample_ids: Tensor
    """(b,) int64, rows of the per-sample state."""
    step: int
    """Global step, counted from 0 over all epochs."""
    epoch: int
    """Counted from 0."""
    log: bool = False
    """True in the steps whose diagnostics are logged; computing them takes time."""


@dataclass
class Loss:
    """`loss` () carries the gradient; `diagnostics` are detached () tensors of this rank, by name."""

    loss: Tensor
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, Generic[S]):
    """A loss on features, with the state it needs between steps.

    Gradients of parameters are averaged over ranks afterwards. Each rank's loss is therefore scaled so that this mean
    is the gradient of the global batch's loss. All state is in `state_dict()`, inner optimizers included: after saving
    and loading, an objective continues bit for bit as if it had not been interrupted.
    """

    per_sample: tuple[str, ...] = ()
    """Entries of `state_dict()` of which each rank has only its own samples' columns (see `per_sample`). The others are
    equal on all ranks."""
    corpus_every_steps: int | None = None
    """Steps between two times at which the objective gets the features of all pairs (`take_corpus`); None: it does not
    need them."""

    def __init__(self, settings: S, context: Context) -> None:
        """Raises AmorlipError for a batch that the ranks cannot share equally, or without negatives."""
        super().__init__()
        pairs_per_rank(context.batch_size, context.world_size)
        if context.batch_size < 2:
            raise AmorlipError(f"batch_size is {context.batch_size}; contrasting pairs needs at least 2")
        self.settings = settings
        self.context = context

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of `epoch`. A second call, as after a resume, changes nothing."""

    def take_corpus(self, image: Tensor, text: Tensor, sample_ids: Tensor) -> None:
        """This rank's part of a batch of the corpus, features (b, d) of the encoders as they are now, ids (b,).

        Called batch by batch, on all ranks at once, before the step for which they are due.
        """

    def forward(self, features: Features) -> Loss:
        """One step, in float32 or wider even under autocast."""
        with torch.autocast(features.image_features.device.type, enabled=False):
            return self.compute(_at_least_float32(features))

    def compute(self, features: Features) -> Loss:
        """The method itself; `features` are float32 or float64."""
        raise NotImplementedError


def with_value(loss: Tensor, value: Tensor) -> Tensor:
    """The number `value` with the gradient of `loss`, so that all methods can share one plot."""
    return value.detach() + (loss - loss.detach())


def _at_least_float32(features: Features) -> Features:
    bias = features.logit_bias
    return replace(
        features,
        image_features=_cast(features.image_features),
        text_features=_cast(features.text_features),
        logit_scale=_cast(features.logit_scale),
        logit_bias=None if bias is None else _cast(bias),
    )


def _cast(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
