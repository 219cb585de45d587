"""Keys of `config/scales/*.yaml`: corpus, model, recipe, and the resources of each job."""

from __future__ import annotations

from typing import Annotated, Literal

from amorlip.config.base import Affects, Count, Natural, Positive, Section
from amorlip.config.method import MethodLayer
from amorlip.config.recipe import Recipe


class Resources(Section):
    """What a job requests from the cluster. Changing these keys runs nothing again."""

    cpus: Count = 1
    """CPU cores."""
    workers: Natural | None = None
    """Data-loading processes of an evaluation; null: one less than `cpus`. Those of training are in the recipe."""
    gpus: Natural = 0
    """GPUs."""
    mem_mb: Count = 4000
    """Memory [MB]."""
    runtime_min: Count = 60
    """Time limit [min]."""


class TrainingResources(Resources):
    """What a training run requests; CPUs, GPUs and memory are those of each of its nodes."""

    nodes: Count = 1
    """Machines that train one run together, which needs Slurm; `ranks` is a multiple of it."""


class EvaluationResources(Resources):
    """What the evaluation of one model requests. A few jobs share its tasks."""

    jobs: Count = 1
    """Jobs that share a model's tasks, about equally many images each."""
    runtime_min: Count = 30
    """Time limit of a job [min], to which `images_per_s` adds the time for its images."""
    images_per_s: Positive = 20.0
    """Slowest speed to expect, for the time limit. A job that reached its limit goes on with the tasks it lacks."""


class EvaluationSettings(Section):
    """How a trained model is evaluated."""

    device: Annotated[Literal["auto", "cpu"], Affects.NOTHING] = "auto"
    """`auto`: a GPU if there is one, and an error if there is one that PyTorch cannot use; `cpu`: the CPU."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast of the encoders on a GPU; on a CPU always float32."""
    batch_size: Count = 64
    """Images or texts per forward pass."""
    full_predictions: bool = False
    """Also write scores to the parquet files: of every class; of the ten best texts or images; of every candidate."""


class Scale(Section):
    """A size of experiment: corpus, model and recipe, and what each method changes in it."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in tables and figures."""
    recipe: Recipe
    """The recipe shared by all methods."""
    methods: dict[str, MethodLayer] = {}
    """Method → what it changes at this scale."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Evaluation of this scale's runs."""
    train_resources: Annotated[TrainingResources, Affects.NOTHING] = TrainingResources()
    """Per training run."""
    evaluate_resources: Annotated[EvaluationResources, Affects.NOTHING] = EvaluationResources()
    """Per job that evaluates a run."""
