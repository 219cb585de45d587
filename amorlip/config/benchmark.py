"""Keys of `config/benchmarks/*.yaml`: evaluation tasks, their averages, and the columns of tables."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import model_validator

from amorlip.common.errors import unknown_key
from amorlip.common.transparency import Transparency
from amorlip.config.base import Affects, Commit, Count, Fraction, Key, Name, Repository, Section, Sha256, refused

EmojiTask = Literal[
    "openmoji", "fluent_3d", "heldout_instances", "subgroups", "quickdraw", "digits", "heldout_names", "association",
    "styles",
]  # fmt: skip
"""The task sets of `amorlip.emoji.task_sets`, which Snakemake does not import: it would load pandas in every job."""
IconTask = Literal["heldout_sets", "heldout_names", "heldout_both"]
"""The task sets of `amorlip.icons.task_sets`."""

_CLASSIFICATION = ("acc1", "acc5", "mean_per_class_recall", "F1-macro_all")
METRICS = {
    "classification": _CLASSIFICATION,
    "classification_grouped": (*_CLASSIFICATION, "acc_worst_region", "acc_wg", "acc_top5_wg"),
    "retrieval": ("mean_recall@1", "mean_recall@5"),
    "association": ("jaccard_score", "jaccard_score_10-12"),
}
"""Kind of task → the main metrics that its evaluator gives."""
_FURTHER = {
    "retrieval": (
        "mean_recall@10",
        *(f"{what}_retrieval_recall@{k}" for what in ("image", "text") for k in (1, 5, 10)),
    ),
    "association": ("jaccard_score_5-6",),
}
"""Kind of task → the other metrics that its evaluator gives."""


class TaskSource(Section):
    """Where a task's files come from."""

    kind: Literal["emoji", "icons", "hub", "folder", "validation"]
    """`emoji`, `icons`: built from a corpus of that source; `hub`: a Hugging Face dataset repository; `folder`: already
    on disk; `validation`: the validation split of a corpus, for retrieval: its pairs are never trained on."""
    corpus: Name | None = None
    """emoji, icons, validation: the corpus."""
    builder: EmojiTask | IconTask | None = None
    """emoji, icons: one of the task sets of `amorlip.emoji.task_sets` or `amorlip.icons.task_sets`."""
    repository: Repository | None = None
    """hub: owner/name."""
    revision: str = "main"
    """hub: commit, tag or branch."""
    commit: Annotated[Commit | None, Affects.NOTHING] = None
    """hub: the commit that is downloaded, whatever `revision` stands for by now; `amorlip pin` records it."""
    sha256: Annotated[Sha256 | None, Affects.NOTHING] = None
    """Checksum of the set's files; others are refused. `amorlip pin` records it for sets of a hub."""
    path: str | None = None
    """folder: its path, from the working directory."""

    @model_validator(mode="after")
    def _complete(self) -> TaskSource:
        needed = {
            "emoji": ("corpus", "builder"),
            "icons": ("corpus", "builder"),
            "hub": ("repository",),
            "folder": ("path",),
            "validation": ("corpus",),
        }
        for key in needed[self.kind]:
            if getattr(self, key) is None:
                raise refused(f"a source of kind '{self.kind}' needs the key '{key}'", "kind")
        if self.is_rendered and self.builder not in (
            known := get_args(EmojiTask if self.kind == "emoji" else IconTask)
        ):
            raise refused(
                unknown_key(str(self.builder), known, f"builder of a source of kind '{self.kind}'"), "builder", "kind"
            )
        return self

    @property
    def is_rendered(self) -> bool:
        """Whether it is built from the pictures of a corpus that is rendered here."""
        return self.kind in ("emoji", "icons")


TaskKind = Literal["classification", "classification_grouped", "retrieval", "association"]


class TaskContent(Section):
    """What a task's files hold."""

    kind: TaskKind
    """Which evaluator."""
    samples: Count | None = None
    """Expected number of samples (images; association: rounds); any other number is an error."""
    classes: Count | None = None
    """Number of classes; any other number of class names is an error."""
    metadata: list[Name] = []
    """classification_grouped: the columns of the samples' metadata vectors."""


class TaskDefinition(TaskContent):
    """What is measured on a task's files."""

    main_metric: Literal[
        "acc1", "acc5", "mean_per_class_recall", "F1-macro_all", "acc_worst_region", "acc_wg", "acc_top5_wg",
        "mean_recall@1", "mean_recall@5", "jaccard_score", "jaccard_score_10-12",
    ]  # fmt: skip
    """The metric that tables show."""
    transparency: Transparency = "white"
    """How transparent pixels are shown: `white` composes images on white, as the default of corpora; `drop` shows the
    colors stored under the transparency, as clip_benchmark and DataComp do."""
    shared_images: bool = False
    """classification: keep the images' features next to the results, for tasks of the same files in the same order."""
    group_by: Name | None = None
    """classification_grouped: the column that defines the groups."""

    @model_validator(mode="after")
    def _groups_are_columns(self) -> TaskDefinition:
        if self.group_by is not None and self.group_by not in self.metadata:
            raise refused(unknown_key(self.group_by, self.metadata, "metadata column"), "group_by", "metadata")
        return self

    @model_validator(mode="after")
    def _kind_gives_the_main_metric(self) -> TaskDefinition:
        metric, known = self.main_metric, METRICS[self.kind]
        if metric not in known:
            raise refused(
                f"'{metric}' is not a metric of the kind '{self.kind}', which gives {', '.join(known)}",
                "main_metric",
                "kind",
            )
        if metric in ("acc_worst_region", "acc_wg", "acc_top5_wg") and self.group_by is None:
            raise refused(f"'{metric}' needs the key 'group_by'", "main_metric", "group_by")
        if metric == "acc_worst_region" and self.group_by != "region":
            raise refused(f"'{metric}' needs 'group_by: region'; acc_wg is for any column", "main_metric", "group_by")
        if metric in ("acc5", "acc_top5_wg") and self.classes is not None and self.classes < 5:
            raise refused(f"'{metric}' needs at least five classes, not {self.classes}", "main_metric", "classes")
        return self


class Task(TaskDefinition):
    """One evaluation set with its main metric."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in tables and figures."""
    source: TaskSource
    """Where the files come from."""
    random_score: Annotated[Fraction | None, Affects.DISPLAY] = None
    """The main metric at chance level, for the row `Chance`; null where it is not known."""

    @model_validator(mode="after")
    def _held_out_pairs_are_for_retrieval(self) -> Task:
        if self.source.kind == "validation" and self.kind != "retrieval":
            raise refused("the pairs of a validation split make a task of kind 'retrieval'", ("source", "kind"), "kind")
        return self


def metrics_of(task: TaskDefinition) -> list[str]:
    """Every metric that the evaluator of a task may give, with the one of its own group."""
    own = [f"acc_worst_{task.group_by}"] if task.group_by else []
    return [*METRICS[task.kind], *_FURTHER.get(task.kind, ()), *own]


class Average(Section):
    """A mean of main metrics."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in tables."""
    tasks: list[str] | None = None
    """Which tasks; null: all tasks of the benchmark."""


class ColumnGroup(Section):
    """Neighboring columns of the main table under one heading."""

    title: Annotated[str, Affects.DISPLAY]
    """The heading."""
    columns: list[str]
    """Keys of tasks or averages."""


class Benchmark(Section):
    """A list of tasks with the averages and table columns made of them."""

    title: Annotated[str, Affects.DISPLAY]
    """Name in captions."""
    tasks: dict[Key, Task]
    """Key → task. The key is the name of the task's folder and JSON file."""
    averages: Annotated[dict[Key, Average], Affects.DISPLAY] = {}
    """Key → average."""
    columns: Annotated[list[ColumnGroup], Affects.DISPLAY] = []
    """Columns of the main table."""

    @model_validator(mode="after")
    def _names_exist(self) -> Benchmark:
        for key, average in self.averages.items():
            for task in average.tasks or []:
                if task not in self.tasks:
                    raise refused(unknown_key(task, self.tasks, "task"), ("averages", key, "tasks"))
        if both := self.tasks.keys() & self.averages.keys():
            name = min(both)
            raise refused(f"'{name}' is both a task and an average; rename one", ("averages", name), ("tasks", name))
        known = [*self.tasks, *self.averages]
        for number, group in enumerate(self.columns):
            for column in group.columns:
                if column not in known:
                    raise refused(unknown_key(column, known, "task or average"), ("columns", number, "columns"))
        return self
