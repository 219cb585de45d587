"""Checks that need more than one section of the configuration, or the user's files.

Each raises `base.refused` with the keys to change; study.py calls them and adds the place where the keys were written.
What one section can see by itself is checked by the validators of its type.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from amorlip.common.errors import AmorlipError, unknown_key
from amorlip.config.architectures import architectures, needs_hub_by_name, published_weights
from amorlip.config.base import Section, refused
from amorlip.config.benchmark import Benchmark, Task, metrics_of
from amorlip.config.corpus import Corpus
from amorlip.config.experiment import (
    AccuracyOverEpochs,
    Comparison,
    DifferenceToBaseline,
    EpochsToAccuracy,
    Experiment,
    GainOverBaseline,
    Sweep,
    options_type,
)
from amorlip.config.objectives import OBJECTIVES, Amorlip, SigLip
from amorlip.config.recipe import Recipe, pairs_per_rank
from amorlip.config.scale import TrainingResources
from amorlip.config.selection import ExternalModel

# ---------------------------------------------------------------- recipes


def check_objective(name: str) -> None:
    """The objective of a method is known."""
    if name not in OBJECTIVES:
        raise refused(unknown_key(name, OBJECTIVES, "objective"), "objective")


def check_model(recipe: Recipe) -> None:
    """The architecture is known, and can be trained without a hub."""
    known = architectures()
    if known and recipe.model not in known:
        raise refused(unknown_key(recipe.model, known, "model"), "model")
    if known and needs_hub_by_name(recipe.model):
        raise refused(
            f"'{recipe.model}' needs a tokenizer from a hub; use a model with OpenCLIP's own, such as ViT-B-32", "model"
        )


def check_epoch_tasks(recipe: Recipe, benchmark: Benchmark) -> None:
    """The tasks that are evaluated after each epoch are in the benchmark."""
    for task in recipe.epoch_tasks:
        if task not in benchmark.tasks:
            raise refused(unknown_key(task, benchmark.tasks, "task"), "epoch_tasks")


def check_nodes(recipe: Recipe, resources: TrainingResources) -> None:
    """Each node has equally many ranks."""
    if recipe.ranks % resources.nodes:
        raise refused(
            f"ranks is {recipe.ranks}, but train_resources.nodes is {resources.nodes}; use a multiple of the nodes",
            ("train_resources", "nodes"),
            ("recipe", "ranks"),
        )


def check_gpus(recipe: Recipe, resources: TrainingResources) -> None:
    """Each rank has one GPU, or none has."""
    if resources.gpus * resources.nodes not in (0, recipe.ranks):
        each = f" on each of {resources.nodes} nodes" if resources.nodes > 1 else ""
        raise refused(
            f"ranks is {recipe.ranks}, but train_resources.gpus is {resources.gpus}{each}; each rank uses one GPU, "
            "so set both to the same number (or gpus to 0, to train on CPUs)",
            ("train_resources", "gpus"),
            ("recipe", "ranks"),
        )


def check_cpus(recipe: Recipe, resources: TrainingResources) -> None:
    """Each rank's threads have CPU cores."""
    needed = recipe.ranks // resources.nodes * recipe.threads_per_rank
    if resources.cpus < needed:
        raise refused(
            f"ranks × threads_per_rank is {needed}, but train_resources.cpus is {resources.cpus}; "
            "use more cpus or fewer threads",
            ("train_resources", "cpus"),
            ("recipe", "threads_per_rank"),
            ("recipe", "ranks"),
        )


def check_logit_bias(settings: Section, recipe: Recipe) -> None:
    """SigLIP's logit bias has an initial value."""
    if isinstance(settings, SigLip) and recipe.logit_bias_init is None:
        raise refused("the objective siglip learns a logit bias and needs its initial value (the paper: -10)",
                      "logit_bias_init")  # fmt: skip


def check_local_negatives(settings: Section, recipe: Recipe) -> None:
    """A rank with its own negatives has at least two pairs."""
    local = isinstance(settings, Amorlip) and settings.negatives == "local"
    if local and pairs_per_rank(recipe.batch_size, recipe.ranks) < 2:
        raise refused("'negatives: local' needs at least two pairs per rank; use fewer ranks", "ranks", "batch_size")


def check_length(recipe: Recipe, samples: int, advice: str) -> None:
    """The corpus has a batch, and the warmup ends within the run. `advice`: what to do if the number is wrong."""
    steps = recipe.epochs * (samples // recipe.batch_size)
    if not steps:
        raise refused(
            f"batch_size {recipe.batch_size} is larger than the corpus of {samples} pairs ({advice})", "batch_size"
        )
    if recipe.schedule.warmup_steps >= steps:
        raise refused(
            f"warmup_steps is {recipe.schedule.warmup_steps}, but the whole run has {steps} steps: {recipe.epochs} "
            f"epochs of {samples} pairs; use fewer warmup steps or train longer ({advice})",
            ("schedule", "warmup_steps"),
            "epochs",
            "batch_size",
        )


# ---------------------------------------------------------------- tasks and corpora

_SHARDS = ("test/nshards.txt",)
FILES: dict[str, list[tuple[str, ...]]] = {
    "classification": [("classnames.txt",), ("zeroshot_classification_templates.txt",), _SHARDS],
    "classification_grouped": [("classnames.txt",), ("zeroshot_classification_templates.txt",), _SHARDS],
    "retrieval": [(*_SHARDS, "*.zip")],
    "association": [("*.csv",), (*_SHARDS, "*.zip")],
}
"""Kind of task → files that its folder must have, each with the alternatives; see amorlip/tasks/read.py."""

STYLES = {
    "openmoji": ("openmoji",),
    "fluent_3d": ("fluent_3d",),
    "subgroups": ("openmoji",),
    "styles": ("openmoji", "fluent_3d"),
    "heldout_names": ("twemoji",),
    "association": ("fluent_3d",),
}
"""Builder of a task of emoji → the drawing styles that it needs."""
ROLES = {"quickdraw": ("sketches",), "digits": ("digits",)}
"""Builder of a task of emoji → the packages that it needs, by role."""


def check_task_folder(task: Task) -> None:
    """The folder of a task that is on disk exists, and has the files of its kind of task."""
    if task.source.kind != "folder":
        return
    folder = Path(task.source.path or "")
    if not folder.is_dir():
        raise refused(f"no folder '{task.source.path}'; it should hold the task's files", ("source", "path"))
    for choices in FILES[task.kind]:
        if not any(path for pattern in choices for path in folder.glob(pattern)):
            raise refused(
                f"'{folder}' has no {' or '.join(choices)}, which a task of kind '{task.kind}' needs",
                ("source", "path"),
            )


def check_artwork(task: Task, corpus: Corpus) -> None:
    """A task that is built from emoji names a corpus with the packages that the task shows."""
    if corpus.emoji is None or task.source.builder is None:
        return
    packages = corpus.emoji.packages.values()
    roles, styles = ({getattr(package, key) for package in packages} for key in ("role", "style"))
    for what, needed, found in (("role", ROLES, roles), ("style", STYLES, styles)):
        for name in needed.get(task.source.builder, ()):
            if name not in found:
                raise refused(
                    f"'{task.source.builder}' needs a package with the {what} '{name}', and the corpus "
                    f"'{task.source.corpus}' has none",
                    ("source", "builder"),
                )


def check_validation_split(task: Task, corpus: Corpus) -> None:
    """A task of held-out pairs names a corpus that holds some out."""
    lists = corpus.urls if corpus.source == "urls" else None
    if corpus.is_rendered or (lists and lists.validation is None and lists.validation_fraction == 0):
        raise refused(
            f"'{task.source.corpus}' has no validation split; set urls.validation or urls.validation_fraction there",
            ("source", "corpus"),
        )


def check_rendered_corpus(task: Task, corpus: Corpus) -> None:
    """A task that is built from emoji or icons names a corpus of them."""
    if corpus.source != task.source.kind:
        raise refused(
            f"the source of '{task.source.corpus}' is '{corpus.source}', not {task.source.kind}", ("source", "corpus")
        )


def check_lists(corpus: Corpus) -> None:
    """Lists of addresses that are on this machine exist."""
    if corpus.source != "urls" or corpus.urls is None:
        return
    for split in ("train", "validation"):
        given = getattr(corpus.urls, split)
        scheme = "" if given is None else urlsplit(given.url.strip()).scheme.lower()
        if given is None or scheme in ("http", "https"):
            continue
        if scheme != "file":
            raise refused(
                f"'{given.url}' must begin with https://, http:// or file:// (file:///home/me/list.tsv for a path)",
                ("urls", split, "url"),
            )
        path = Path(unquote(urlsplit(given.url).path))
        if not path.is_file():
            raise refused(f"no file '{path}'; it should hold the list of addresses", ("urls", split, "url"))


# ---------------------------------------------------------------- published weights


def check_external_model(model: ExternalModel) -> None:
    """The architecture is known."""
    known = architectures()
    if known and model.model not in known:
        raise refused(unknown_key(model.model, known, "model"), "model")


def check_weights(model: ExternalModel) -> None:
    """The weights are a name that OpenCLIP has for this architecture, or a file."""
    listed = published_weights()
    known = listed.get(model.model, frozenset())
    if model.pretrained.lower().replace("-", "_") in known or Path(model.pretrained).is_file():
        return
    if "/" in model.pretrained or "." in model.pretrained:
        raise refused(f"no file '{model.pretrained}'", "pretrained")
    if listed and not known:
        raise refused(f"'{model.model}' has no published weights; give the path of a file", "pretrained", "model")
    if listed:
        what = unknown_key(model.pretrained, known, "weights")
        raise refused(f"{what} ({model.model}; or give the path of a file)", "pretrained", "model")


# ---------------------------------------------------------------- tables and figures


def options_of(experiment: Experiment) -> type[Section]:
    """The type of an experiment's options; its function is known."""
    try:
        return options_type(experiment.kind, experiment.function)
    except AmorlipError as error:
        raise refused(str(error), "function") from error


def check_shown_tasks(options: Section, benchmark: Benchmark) -> None:
    """Tasks and columns that a table or figure shows are in the benchmark."""
    tasks, averages = list(benchmark.tasks), list(benchmark.averages)
    if isinstance(options, GainOverBaseline | Sweep):
        key, known, what = "columns", [*tasks, *averages], "task or average"
    elif isinstance(options, Comparison):
        key, known, what = "columns", [*tasks, *averages], "task or average"
        for number, best in enumerate(options.best_of):
            if best.column is not None and best.column not in known:
                raise refused(unknown_key(best.column, known, what), ("best_of", number, "column"))
    elif isinstance(options, DifferenceToBaseline):
        key, known, what = "tasks", tasks, "task"
    else:
        return
    for name in getattr(options, key) or []:
        if name not in known:
            raise refused(unknown_key(name, known, what), key)


def check_followed_task(options: Section, recipes: Collection[Recipe]) -> None:
    """The task that a figure follows over epochs is evaluated after each epoch in some of its runs."""
    if isinstance(options, AccuracyOverEpochs | EpochsToAccuracy) and options.task is not None:
        known = {task for recipe in recipes for task in recipe.epoch_tasks}
        if options.task not in known:
            raise refused(unknown_key(options.task, known, "task among the epoch_tasks of these runs"), "task")


def check_followed_metric(options: Section, recipes: Collection[Recipe], benchmark: Benchmark) -> None:
    """The metric that a figure follows over epochs is one that its task gives."""
    if not isinstance(options, AccuracyOverEpochs) or options.metric is None:
        return
    tasks = [options.task] if options.task else [task for recipe in recipes for task in recipe.epoch_tasks]
    known = list(dict.fromkeys(metric for task in tasks for metric in metrics_of(benchmark.tasks[task])))
    if tasks and options.metric not in known:
        raise refused(unknown_key(options.metric, known, f"metric of {tasks[0]}"), "metric")


def check_published(options: Section, folder: Path) -> None:
    """The files of published numbers exist."""
    known = [path.stem for path in (folder / "paper").glob("*.csv")]
    for key in ("published", "later_work"):
        name = getattr(options, key, None)
        if name is not None and name not in known:
            raise refused(unknown_key(name, known, "file in paper/"), key)
