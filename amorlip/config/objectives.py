"""Keys of each objective's settings, and the registry of objectives.

They are kept apart from the mathematics: Snakemake reads the configuration in every job, without loading PyTorch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.base import Count, Float, Fraction, NonNegative, Positive, Section, refused


class Clip(Section):
    """Symmetric InfoNCE over the global batch; it has no keys."""


class Dcl(Section):
    """Decoupled contrastive learning: InfoNCE with a weight for the pair itself in its partition function."""

    positive_weight: NonNegative = 0.0
    """w_ii: weight of the pair itself in Z; at 1 it is CLIP."""


class RhoChange(Section):
    """A later value of ρ."""

    from_fraction: Fraction
    """Fraction of the epochs after which it holds."""
    value: Float
    """The new ρ."""


def _require_order(schedule: list[RhoChange]) -> None:
    starts = [change.from_fraction for change in schedule]
    if any(later <= earlier for earlier, later in zip(starts, starts[1:], strict=False)):
        raise refused(f"from_fraction must grow from one change to the next, not {starts}", "rho_schedule")


class DclRho(Dcl):
    """Decoupled contrastive learning with AmorLIP's rule for the logit scale: the loss over τ, plus ρ/τ."""

    rho: Float = 8.5
    """ρ of the term ρ/τ."""
    rho_schedule: list[RhoChange] = []
    """Later values of ρ, in the order of their epochs."""

    @model_validator(mode="after")
    def _rho_changes_are_in_order(self) -> DclRho:
        _require_order(self.rho_schedule)
        return self


class Amorlip(Section):
    """What both amortization objectives have in common. Symbols are those of the paper's Algorithm 1."""

    t_online: Count = 1
    """T_online: steps between fits of the online networks, counted within the epoch."""
    t_lambda: Count = 3
    """T_λ: Adam steps of one fit."""
    t_target: Count = 2
    """T_target: steps between updates of the target networks."""
    alpha: Fraction = 0.92
    """α: share of its old value that the target keeps in an update. Like all keys of the networks, it changes nothing
    where β is 0 under `normalizer: combined`: then λ is the batch's own Z."""
    alpha_schedule: Literal["constant", "cosine"] = "constant"
    """`cosine`: α rises from 0 in the first epoch to its value at `beta_horizon_epochs`, as β does."""
    beta_max: Fraction = 0.8
    """β_T: largest weight of the previous epoch's networks in Z_comb (Eq. 12); 0 switches them off. At 1, Z_comb is
    that of these networks alone from the horizon on (Figure 4b of the paper)."""
    beta_horizon_epochs: Count | None = None
    """T_β: epoch at which β reaches `beta_max`; null: the number of epochs."""
    beta_counts_from: Literal[0, 1] = 0
    """Number of the first epoch in β's schedule: 0 as in the released code, 1 as in the paper's Algorithm 1. β is 0 in
    the first epoch either way, as there are no previous networks."""
    f_d: Annotated[Positive, Field(le=64)] = 1.0
    """f_d: hidden width of the networks as a multiple of the features' width."""
    positive_weight: NonNegative = 1e-3
    """w_ii: weight of the pair itself in Z; the others have 1."""
    normalizer: Literal["combined", "target"] = "combined"
    """λ of stage II: `combined` is Z_comb of the batch, `target` the output of the target networks."""
    estimator: Literal["networks", "batch_mean", "memory", "corpus"] = "networks"
    """What estimates Z. For controls, something else takes the place of the networks, with the same β: `batch_mean` is
    the batch's mean log Z, the same for all its pairs; `memory` is Z of the last `memory_pairs` pairs as they were when
    they were encoded, scaled to the size of the batch; `corpus` is Z of the whole corpus, scaled in the same way, whose
    pairs are all encoded again every `corpus_every_steps` steps: what the networks would learn at best."""
    memory_pairs: Count = 65536
    """Pairs whose features `estimator: memory` keeps, this batch's included; at most those of the corpus. Each takes
    8 bytes per dimension, also in checkpoints."""
    corpus_every_steps: Count = 20
    """Steps after which `estimator: corpus` encodes the corpus again, as in training; 1 is exact. Between them, it has
    the newest features of each pair. It takes as much memory as `memory_pairs` of the corpus' size."""
    bias_init: Literal["data", "zero"] = "data"
    """Initial output bias of the networks: `data` is the mean log Z_comb of the first batch, `zero` is PyTorch's."""
    reinitialize: bool = True
    """Start each epoch with new online and target networks and a new Adam."""
    amortize: Literal["all", "negatives"] = "all"
    """`negatives`: networks estimate Z without the pair itself, whose term is added when they are used."""
    negatives: Literal["global", "local"] = "global"
    """Stage II contrasts a pair with the `global` batch, or with the rank's own part (`local`, no communication)."""
    target_negatives: Literal["global", "local"] = "global"
    """Batch behind log Z of stage I; under `negatives: local`, `global` costs one exchange every `t_online` steps."""
    rho: Float = 8.5
    """ρ of the term ρ/τ."""
    rho_schedule: list[RhoChange] = []
    """Later values of ρ, in the order of their epochs."""
    lr: Positive = 1e-3
    """Learning rate of the networks' Adam."""
    lr_rule: Literal["constant", "times_ranks"] = "constant"
    """`times_ranks`: the rate is multiplied by the number of ranks."""
    grad_clip: Positive | None = 1.0
    """Largest gradient norm of the networks; null: no clipping."""

    @model_validator(mode="after")
    def _rho_changes_are_in_order(self) -> Amorlip:
        _require_order(self.rho_schedule)
        return self

    @model_serializer(mode="wrap")
    def _without_unused_controls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without unused keys of controls: runs from before these keys are not trained again."""
        unused = {"estimator", "memory_pairs"} if self.estimator == "networks" else set()
        unused |= {"corpus_every_steps"} if self.estimator != "corpus" else set()
        return {key: value for key, value in serialize(self).items() if key not in unused}


class AmorlipL2Log(Amorlip):
    """AmorLIP with the l2-log objective (Eq. 10)."""


class AmorlipFDiv(Amorlip):
    """AmorLIP with an f-divergence (Eq. 9), regularized by l2-log."""

    divergence: Literal["kl", "js"] = "kl"
    """f(t): `kl` is t log t - t + 1, `js` is ½(t log t - (t+1) log((t+1)/2)), t = Z_comb/λ."""
    l2_weight: NonNegative = 0.1
    """Weight of the l2-log term that is added (appendix C)."""
    fdiv_reduction: Literal["mean", "release"] = "mean"
    """`mean` over the pairs; `release`: 1/B of it, as the released code averages over B² elements."""


class SigLip(Section):
    """Pairwise sigmoid loss; it has no keys. The recipe sets the initial logit bias."""


class SogClr(Section):
    """Global contrastive loss; the recipe keeps the logit scale constant."""

    gamma: Annotated[Fraction, Field(gt=0)] = 0.8
    """γ: share of the new value in a sample's moving average."""
    eps: Positive = 1e-14
    """ε: added to the moving average where it divides."""


class FastClip(SogClr):
    """FastCLIP: γ falls from 1, and v3 learns the temperature through the robust global contrastive loss."""

    version: Literal["v0", "v1", "v3"] = "v3"
    """v0: the temperature is learned through the ratio alone; v1: the temperature is constant; v3: with ρ and log u."""
    gamma: Annotated[Fraction, Field(gt=0)] = 0.2
    """γ at and after the horizon."""
    gamma_horizon_epochs: Count | None = None
    """Epoch at which γ reaches `gamma`; null: half of the epochs."""
    rho: Float = 8.5
    """ρ of the term ρ/τ (v3)."""
    tau_gradient: Literal["code", "formula"] = "code"
    """The ratio's gradient in τ: `code` counts it twice, as the authors' code does."""


class NeuClip(Section):
    """NeuCLIP: prototypes learned with AdaGrad between the encoders' steps."""

    prototypes: Annotated[Count, Field(le=10**7)] = 4096
    """m: prototypes per modality."""
    t_u: Count = 10
    """T_u: AdaGrad steps per batch."""
    reseed_steps: Count = 500
    """T_r: steps between replacements of prototypes by features of the batch."""
    lr: Positive = 1e-2
    """AdaGrad's learning rate."""
    rho: Float = 8.5
    """ρ of the term ρ/τ."""
    eps: Positive = 1e-14
    """ε: added to the mean exponentials."""


OBJECTIVES: dict[str, type[Section]] = {
    "clip": Clip,
    "dcl": Dcl,
    "dcl_rho": DclRho,
    "siglip": SigLip,
    "sogclr": SogClr,
    "fastclip": FastClip,
    "neuclip": NeuClip,
    "amorlip_l2log": AmorlipL2Log,
    "amorlip_fdiv": AmorlipFDiv,
}
"""Objective, which is the name of its module in `amorlip.objectives` → its keys."""


def settings_type(name: str) -> type[Section]:
    """The keys that the objective `name` has; raises AmorlipError for an unknown name."""
    if name not in OBJECTIVES:
        raise AmorlipError(unknown_key(name, OBJECTIVES, "objective"))
    return OBJECTIVES[name]
