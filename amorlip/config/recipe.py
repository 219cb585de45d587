"""Keys of a recipe, a part of `config/scales/*.yaml`: everything that decides a training run, except the method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from amorlip.common.errors import AmorlipError
from amorlip.config.base import (
    Affects,
    Count,
    Float,
    Fraction,
    Integer,
    Name,
    Natural,
    NonNegative,
    Positive,
    Section,
    refused,
)

Decay = Annotated[NonNegative, Field(lt=1)]


class Optimizer(Section):
    """AdamW on the encoders; no weight decay on gains, biases, the logit scale and the logit bias."""

    lr: Positive
    """Peak learning rate."""
    beta1: Decay = 0.9
    """Decay of the first moment."""
    beta2: Decay = 0.98
    """Decay of the second moment."""
    eps: Positive = 1e-6
    """ε, added to the denominator."""
    weight_decay: NonNegative = 0.2
    """Decoupled weight decay."""
    grad_clip: Positive | None = None
    """Largest global gradient norm; null: no clipping."""
    grad_clip_parameters: Literal["encoders", "all"] = "encoders"
    """Parameters whose norm `grad_clip` limits: the encoders', or `all`, logit scale and bias included."""


class LogitScaleDrop(Section):
    """A lower learning rate of the logit scale while the temperature is low."""

    temperature: Positive
    """Threshold on the temperature 1/τ: the lower rate applies in each step that starts at or below it."""
    factor: Positive
    """The rate is multiplied by this."""


class LogitScale(Section):
    """The logit scale τ = 1/temperature, learned as log τ."""

    init: Positive = 1 / 0.07
    """Initial value."""
    max: Positive = 100.0
    """Upper bound, enforced after each step (the lower one is 1)."""
    learnable: bool = True
    """false: it stays at `init`."""
    lr: Positive | None = None
    """Constant learning rate without warmup; null: the encoders' rate and schedule."""
    drop: LogitScaleDrop | None = None
    """A step rule for `lr`."""

    @model_validator(mode="after")
    def _starts_in_its_bounds(self) -> LogitScale:
        if not 1 <= self.init <= self.max:
            raise refused(f"init must be between 1 and max ({self.max:g}), not {self.init:g}", "init", "max")
        return self


class Schedule(Section):
    """Learning rate over steps: linear warmup, then cosine to zero at the last step."""

    warmup_steps: Natural = 0
    """Steps of linear warmup."""


class Augmentation(Section):
    """Training transform: RandomResizedCrop, bicubic, then the model's mean and standard deviation."""

    crop_scale_min: Fraction = 0.9
    """Smallest area of the crop, as a fraction of the image."""
    crop_scale_max: Fraction = 1.0
    """Largest area of the crop."""

    @model_validator(mode="after")
    def _smallest_crop_is_not_larger(self) -> Augmentation:
        if self.crop_scale_min > self.crop_scale_max:
            raise refused(
                f"crop_scale_min ({self.crop_scale_min:g}) is larger than crop_scale_max ({self.crop_scale_max:g})",
                "crop_scale_min",
                "crop_scale_max",
            )
        return self


class LoaderSettings(Section):
    """Order and speed of the data."""

    workers: Annotated[Natural, Affects.NOTHING] = 1
    """Decoding processes per rank; 0: the training process decodes."""
    local: Annotated[str | None, Affects.NOTHING] = None
    """Folder on a disk of the machine that trains, to which the shards are copied in the background, such as
    $SLURM_TMPDIR/corpus; those that are there are read from there. null: none is copied."""
    shuffle_window: Natural = 0
    """Shards that are shuffled together; 0: the whole corpus at once, which needs fast random access."""


class Recipe(Section):
    """Everything that decides a training run, except the method: the part of a scale that a method may change."""

    corpus: Name
    """File in corpora/."""
    model: str
    """OpenCLIP architecture, or one of amorlip/architectures/."""
    batch_size: Annotated[Integer, Field(ge=2)]
    """Global batch [pairs]."""
    micro_batch_size: Count | None = None
    """Pairs per forward pass on a rank, for small GPUs; null: the rank's whole batch at once. The gradient is the whole
    batch's; with BatchNorm (RN50), that of the whole batch's loss with each part normalized by its own statistics."""
    epochs: Count
    """Passes over the corpus."""
    ranks: Count = 1
    """Processes (GPUs) per run."""
    threads_per_rank: Count = 1
    """CPU threads of a rank; the last bits of a CPU result depend on it."""
    device: Annotated[Literal["auto", "cpu"], Affects.NOTHING] = "auto"
    """`auto`: a GPU if there is one, and an error if there is one that PyTorch cannot use; `cpu`: the CPU. Results of
    the two differ by rounding."""
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Autocast of the encoders on a GPU, whose other float32 products are TF32 unless this is `float32`; on a CPU
    always float32."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile the encoders (torch.compile) in the first step, which takes minutes; `auto`: on a GPU only."""
    activation_checkpointing: bool = False
    """Keep only the input of each block of the encoders, and compute the rest again in the backward pass: less memory,
    a third more computation."""
    optimizer: Optimizer
    """The encoders' optimizer."""
    logit_scale: LogitScale = LogitScale()
    """The logit scale."""
    logit_bias_init: Float | None = None
    """Initial value of the learned bias of the logits (SigLIP); null: no bias."""
    schedule: Schedule = Schedule()
    """Learning-rate schedule."""
    augmentation: Augmentation = Augmentation()
    """Training transform."""
    loader: LoaderSettings = LoaderSettings()
    """Data order and speed."""
    log_every_steps: Count = 50
    """Length of a logging window [steps]."""
    checkpoint_every_steps: Annotated[Count, Affects.NOTHING] = 1000
    """Steps between checkpoints (one more is written at the end of each epoch)."""
    checkpoint_every_minutes: Annotated[Count, Affects.NOTHING] = 10
    """Longest time between checkpoints [min]: what a run that is killed without a signal loses at most, besides
    the time of one write."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """If a loss or gradient is not finite: `stop` at the next logging window, or `skip` the step and count it."""
    epoch_tasks: list[str] = []
    """Tasks of the benchmark that are evaluated after each epoch, during training."""

    @model_validator(mode="after")
    def _batch_is_divided_evenly(self) -> Recipe:
        try:
            pairs = pairs_per_rank(self.batch_size, self.ranks)
        except AmorlipError as error:
            raise refused(str(error), "batch_size", "ranks") from error
        if pairs % (self.micro_batch_size or pairs):
            raise refused(
                f"micro_batch_size {self.micro_batch_size} does not divide the {pairs} pairs of a rank; "
                "use a divisor of batch_size / ranks",
                "micro_batch_size",
                "batch_size",
                "ranks",
            )
        return self


def pairs_per_rank(batch_size: int, ranks: int) -> int:
    """Each rank's part of the global batch [pairs]. Raises AmorlipError if the parts are not equal."""
    pairs, rest = divmod(batch_size, ranks)
    if rest or not pairs:
        raise AmorlipError(f"batch_size {batch_size} is not a multiple of ranks {ranks}")
    return pairs
