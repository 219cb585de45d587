"""Every key of the configuration, with its type, unit, default and meaning.

This module is the only definition: the JSON schemas in workflow/schemas/ and the key tables of
config/README.md are generated from it (`amorlip schema`), and `amorlip.resolve` reads the YAML files
into these types. The settings of a method live beside its mathematics, as `Settings` in its module of
`amorlip.objectives`, and subclass `Section` too.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.]*$")]
"""A name that becomes part of a path: letters, digits, `_` and `.`; `-` separates the parts of a run's name."""

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name that becomes a file's: as `Name`, and with `-`."""

PackageName = Annotated[str, Field(pattern=r"^(@[a-z0-9_-][a-z0-9_.-]*/)?[a-z0-9_-][a-z0-9_.-]*$")]
"""Name of an npm package, with its scope."""


def _number(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text; people mean the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _whole_number(value: Any) -> Any:
    """Snakemake hands numbers inside a list or mapping of `--config` over as text."""
    return int(value) if isinstance(value, str) and value.strip().lstrip("-").isdecimal() else value


Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
Integer = Annotated[int, BeforeValidator(_whole_number)]
Count = Annotated[Integer, Field(ge=1)]
Natural = Annotated[Integer, Field(ge=0)]
Seed = Annotated[Integer, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A group of keys. Unknown keys are refused by name, with the nearest known one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"{unknown_key(key, cls.model_fields)} (its value: {data[key]!r})")
        return data


def unknown_key(key: Any, known: Any, what: str = "key") -> str:
    """One line that names an unknown `key` and the nearest of the `known` ones."""
    known = sorted(known)
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} '{key}'; {hint}"


# ---------------------------------------------------------------- corpora


class Package(Section):
    """One npm package, pinned."""

    version: str
    """Exact version."""
    integrity: Annotated[str, Field(pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")]
    """Subresource-integrity digest of the package's archive; checked after download."""
    licence: str
    """Licence of the content, as the NOTICE lists it."""
    role: Literal["style", "heldout_style", "names", "sketches", "digits"]
    """`style`: pictures for training; `heldout_style`: pictures for evaluation only; `names`: labels and tags of
    emoji; `sketches`: QuickDraw drawings; `digits`: MNIST."""
    style: Name | None = None
    """Name of the drawing style, for the roles `style` and `heldout_style`."""


class EmojiSource(Section):
    """Pictures of emoji by many artists, with human-written names and tags: the demo's corpus and benchmark."""

    packages: dict[PackageName, Package]
    """npm package name → pin."""
    picture_size: Count = 64
    """Side of a rendered picture [pixels]."""
    heldout_names: Fraction = 0.1
    """Fraction of names that never occur in training, in any style."""
    heldout_instances: Fraction = 0.05
    """Fraction of the remaining (style, name) pairs of the training styles that are kept for evaluation."""
    seed: Seed = 0
    """Seed of the split into held-out and training names."""


class UrlList(Section):
    """A tab-separated list without header."""

    url: str
    """Address of the list (http, https or file)."""
    columns: list[Literal["url", "caption"]]
    """Order of its two columns."""


class UrlSource(Section):
    """Captions with the addresses of their images."""

    train: UrlList
    """List of the training pairs."""
    validation: UrlList | None = None
    """List of the validation pairs, where the corpus has one."""
    validation_fraction: Fraction = 0.0
    """Without a validation list: fraction of the training list that is set aside, chosen by a hash of the address."""


class MirrorSource(Section):
    """A Hugging Face dataset repository that holds the pairs as WebDataset shards (keys jpg, txt, json)."""

    repository: str
    """owner/name."""
    revision: str = "main"
    """Commit, tag or branch; the resolved commit is recorded."""
    train: str
    """Glob of the training shards."""
    validation: str
    """Glob of the validation shards."""


class ImageStorage(Section):
    """How images are stored in the shards (img2dataset's options of the same names)."""

    image_size: Count = 256
    """Side to which images are resized [pixels]."""
    resize_mode: Literal["no", "border", "keep_ratio", "center_crop", "keep_ratio_largest"] = "keep_ratio"
    """How to resize; `keep_ratio` makes the shorter side image_size."""
    resize_only_if_bigger: bool = True
    """Never enlarge."""
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    """File format of the stored image."""
    encode_quality: Natural = 95
    """JPEG or WebP quality; for png the compression level 0-9."""
    min_image_size: Natural = 0
    """Images with a shorter side below this are refused [pixels]."""


class DownloadSettings(Section):
    """Speed and patience of the download; none of these keys changes the corpus, so none reruns it."""

    processes: Count = 2
    """Worker processes."""
    threads: Count = 32
    """Download threads per process."""
    timeout_s: Count = 10
    """Patience per image [s]."""
    retries: Natural = 1
    """Passes over the failed addresses after the first."""


class Corpus(Section):
    """Image-text pairs for training."""

    title: str
    """Name in tables and captions."""
    source: Literal["emoji", "urls", "mirror"]
    """Which of the sources below is used."""
    emoji: EmojiSource | None = None
    """The demo's source."""
    urls: UrlSource | None = None
    """Lists of addresses, downloaded with img2dataset."""
    mirror: MirrorSource | None = None
    """Ready-made shards."""
    image: ImageStorage = ImageStorage()
    """Storage of images."""
    download: DownloadSettings = DownloadSettings()
    """Speed of the download."""
    samples_per_shard: Count = 10000
    """Pairs per shard."""
    min_yield: Fraction = 0.5
    """The workflow stops if a smaller fraction of the requested pairs could be had."""
    published_pairs: Count | None = None
    """Training pairs the paper's authors obtained; printed under the tables beside ours."""

    @model_validator(mode="after")
    def _chosen_source_is_described(self) -> Corpus:
        if getattr(self, self.source) is None:
            raise ValueError(f"source is '{self.source}', but the section '{self.source}' is missing")
        return self


# ---------------------------------------------------------------- recipes


class Optimizer(Section):
    """AdamW on the encoders; no weight decay on gains, biases, the logit scale and the logit bias."""

    lr: Positive
    """Peak learning rate."""
    beta1: Fraction = 0.9
    """Decay of the first moment."""
    beta2: Fraction = 0.98
    """Decay of the second moment."""
    eps: Positive = 1e-6
    """Added to the denominator."""
    weight_decay: NonNegative = 0.2
    """Decoupled weight decay."""
    grad_clip: Positive | None = None
    """Largest global gradient norm; null: no clipping."""


class LogitScaleDrop(Section):
    """A one-time cut of the logit scale's learning rate."""

    temperature: Positive
    """Threshold on the temperature 1/τ: the rate is cut at the first step at or below it."""
    factor: Positive
    """What the rate is multiplied with."""


class LogitScale(Section):
    """The logit scale τ = 1/temperature, learned as log τ."""

    init: Positive = 1 / 0.07
    """Value at the start."""
    max: Positive = 100.0
    """Upper bound, enforced after each step (the lower one is 1)."""
    learnable: bool = True
    """false keeps it at `init`."""
    lr: Positive | None = None
    """Constant learning rate without warmup; null: the encoders' rate and schedule."""
    drop: LogitScaleDrop | None = None
    """A step rule for `lr`."""


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


class LoaderSettings(Section):
    """Order and speed of the data. `workers` does not change any batch."""

    workers: Natural = 1
    """Decoding processes per rank; 0 decodes in the training process."""
    shuffle_window: Natural = 0
    """Shards that are shuffled together; 0: the whole corpus at once (needs fast random access)."""


class Recipe(Section):
    """All that decides a training run beside the method: the part of a scale that a method may change."""

    corpus: Name
    """File in corpora/."""
    model: str
    """OpenCLIP architecture, or one of amorlip/architectures/."""
    batch_size: Count
    """Global batch [pairs]."""
    micro_batch_size: Count | None = None
    """Pairs per forward pass on a rank, for small GPUs; null: the rank's whole batch at once. The gradient is the whole
    batch's; with BatchNorm (RN50), that of the whole batch's loss with each part normalised by its own statistics."""
    epochs: Count
    """Passes over the corpus."""
    ranks: Count = 1
    """Processes (GPUs) per run."""
    threads_per_rank: Count = 1
    """CPU threads of a rank; the last bits of a CPU result depend on it."""
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Autocast of the encoders on a GPU; on a CPU always float32."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile the encoders (torch.compile) in the first step, which then takes minutes; `auto`: on a GPU only."""
    activation_checkpointing: bool = False
    """Keep of each block of the encoders its input only and compute the rest again in the backward pass: less memory,
    a third more work."""
    optimizer: Optimizer
    """The encoders' optimiser."""
    logit_scale: LogitScale = LogitScale()
    """The logit scale."""
    logit_bias_init: Float | None = None
    """Start of the learned bias of the logits (SigLIP); null: no bias."""
    schedule: Schedule = Schedule()
    """Learning-rate schedule."""
    augmentation: Augmentation = Augmentation()
    """Training transform."""
    loader: LoaderSettings = LoaderSettings()
    """Data order and speed."""
    log_every_steps: Count = 50
    """Length of a logging window [steps]."""
    checkpoint_every_steps: Count = 1000
    """Steps between checkpoints (one more is written at the end of each epoch)."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """A non-finite loss or gradient: `stop` at the next logging window, or `skip` the step and count it."""
    epoch_tasks: list[str] = []
    """Tasks of the benchmark that are evaluated after each epoch, inside training."""


class MethodLayer(Section):
    """Changes to a method at one scale, or in one variant of an experiment."""

    settings: dict[str, Any] = {}
    """Keys of the method's own settings."""
    recipe: dict[str, Any] = {}
    """Keys of the recipe, nested as there."""


class Method(MethodLayer):
    """A way of training CLIP: an objective with its settings."""

    title: str
    """Name in tables and figures."""
    objective: Name
    """Entry of `amorlip.objectives.registry`."""


class Resources(Section):
    """What a job asks the cluster for; changing these reruns nothing."""

    cpus: Count = 1
    """CPU cores."""
    workers: Natural | None = None
    """Data-loading processes of an evaluation (a training run's are in its recipe); null: one less than `cpus`."""
    gpus: Natural = 0
    """GPUs."""
    mem_mb: Count = 4000
    """Memory [MB]."""
    runtime_min: Count = 60
    """Time limit [min]."""


class EvaluationSettings(Section):
    """How a trained model is evaluated."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast of the encoders on a GPU; on a CPU always float32."""
    batch_size: Count = 64
    """Images or texts per forward pass."""
    full_predictions: bool = False
    """Keep scores in the parquet files: of every class, of the ten texts or images ranked best, of every candidate."""


class Scale(Section):
    """A size of experiment: corpus, model and recipe, and what each method changes in it."""

    title: str
    """Name in tables and figures."""
    recipe: Recipe
    """The recipe shared by all methods."""
    methods: dict[str, MethodLayer] = {}
    """Method → what it changes at this scale."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Evaluation of this scale's runs."""
    train_resources: Resources = Resources()
    """Per training run."""
    evaluate_resources: Resources = Resources()
    """Per run and task."""


class Run(Section):
    """One training run, resolved: what `amorlip train` gets, and writes beside its results."""

    scale: Name
    """The scale's name."""
    method: Name
    """The method's name."""
    variant: Name | None = None
    """Which variant of the method, in an ablation."""
    seed: Seed
    """Seed of the weights, the data order and the augmentation."""
    objective: Name
    """Entry of the registry of objectives."""
    settings: dict[str, Any]
    """The objective's settings, complete."""
    recipe: Recipe
    """The recipe, complete."""

    @property
    def name(self) -> str:
        """The run's folder: method, variant where there is one, and seed."""
        return "-".join(part for part in (self.method, self.variant, f"seed{self.seed}") if part)


# ---------------------------------------------------------------- benchmarks


class TaskSource(Section):
    """Where a task's files come from."""

    kind: Literal["emoji", "hub", "folder"]
    """`emoji`: built from an emoji corpus; `hub`: a Hugging Face dataset repository; `folder`: already on disk."""
    corpus: Name | None = None
    """emoji: whose pictures."""
    builder: Name | None = None
    """emoji: which of the task sets of `amorlip.data.emoji_tasks`."""
    repository: str | None = None
    """hub: owner/name."""
    revision: str = "main"
    """hub: commit, tag or branch."""
    path: str | None = None
    """folder: where it lies."""

    @model_validator(mode="after")
    def _complete(self) -> TaskSource:
        needed = {"emoji": ("corpus", "builder"), "hub": ("repository",), "folder": ("path",)}[self.kind]
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"a source of kind '{self.kind}' needs the key '{key}'")
        return self


class Task(Section):
    """One evaluation set with its main metric."""

    title: str
    """Name in tables and figures."""
    kind: Literal["classification", "classification_grouped", "retrieval", "association"]
    """Which evaluator."""
    main_metric: Literal[
        "acc1", "acc5", "mean_per_class_recall", "F1-macro_all", "acc_worst_region", "acc_wg", "acc_top5_wg",
        "mean_recall@1", "mean_recall@5", "jaccard_score", "jaccard_score_10-12",
    ]  # fmt: skip
    """The metric that tables show."""
    source: TaskSource
    """Where the files come from."""
    samples: Count | None = None
    """Expected number of samples (images; association: rounds); another number is an error."""
    classes: Count | None = None
    """Number of classes; another number of class names is an error."""
    random_score: Fraction | None = None
    """The main metric of guessing, for the row of chance; null where it is not known."""
    shared_images: bool = False
    """classification: keep the images' features beside the results, for tasks of the same files in the same order."""
    metadata: list[Name] = []
    """classification_grouped: the columns of the samples' metadata vectors."""
    group_by: Name | None = None
    """classification_grouped: the column that defines the groups."""

    @model_validator(mode="after")
    def _groups_are_columns(self) -> Task:
        if self.group_by is not None and self.group_by not in self.metadata:
            raise ValueError(f"group_by: {unknown_key(self.group_by, self.metadata, 'metadata column')}")
        return self


class Average(Section):
    """A mean of main metrics."""

    title: str
    """Name in tables."""
    tasks: list[str] | None = None
    """Which tasks; null: all of the benchmark."""


class ColumnGroup(Section):
    """Neighbouring columns of the main table under one heading."""

    title: str
    """The heading."""
    columns: list[str]
    """Keys of tasks or averages."""


class Benchmark(Section):
    """A list of tasks with the averages and table columns made of them."""

    title: str
    """Name in captions."""
    tasks: dict[Key, Task]
    """Key → task. The key is the name of the task's folder and JSON file."""
    averages: dict[Key, Average] = {}
    """Key → average."""
    columns: list[ColumnGroup] = []
    """Columns of the main table."""

    @model_validator(mode="after")
    def _names_exist(self) -> Benchmark:
        for key, average in self.averages.items():
            for task in average.tasks or []:
                if task not in self.tasks:
                    raise ValueError(f"averages.{key}: {unknown_key(task, self.tasks, 'task')}")
        if both := self.tasks.keys() & self.averages.keys():
            raise ValueError(f"'{min(both)}' is both a task and an average; rename one")
        known = [*self.tasks, *self.averages]
        for group in self.columns:
            for column in group.columns:
                if column not in known:
                    raise ValueError(f"columns '{group.title}': {unknown_key(column, known, 'task or average')}")
        return self


# ---------------------------------------------------------------- experiments


class Variant(MethodLayer):
    """A method with changes, as an ablation's row."""

    name: Name
    """Part of the run's name."""
    method: Name
    """The method that is changed."""
    title: str
    """Name in tables and figures."""


class Experiment(Section):
    """One table or figure and the runs it needs."""

    kind: Literal["table", "figure"]
    """Which folder its files go to."""
    function: Name
    """Function of `amorlip.reporting.tables` or `.figures`."""
    title: str
    """Label in the report."""
    caption: str
    """What it shows, in reStructuredText, for the report."""
    scales: list[Name] | None = None
    """Which of the configured scales; null: all."""
    methods: list[Name] | None = None
    """Which of the configured methods; null: all; []: only the variants."""
    variants: list[Variant] = []
    """Further runs."""
    baseline: Name = "clip"
    """The method that differences refer to."""
    options: dict[str, Any] = {}
    """Arguments of the function."""


class FigureStyle(Section):
    """Looks of all figures."""

    dpi: Count = 150
    """Resolution of the png files [dots per inch]."""
    width_in: Positive = 6.5
    """Width [inches]."""
    height_in: Positive = 4.0
    """Height of one panel [inches]."""
    font_size: Positive = 9.0
    """Size of the text [points]."""


class Overrides(Section):
    """Changes laid over the named files, nested as there: `{scales: {demo: {recipe: {epochs: 2}}}}`."""

    corpora: dict[str, dict[str, Any]] = {}
    """corpora/."""
    scales: dict[str, dict[str, Any]] = {}
    """scales/."""
    methods: dict[str, dict[str, Any]] = {}
    """methods/."""
    benchmarks: dict[str, dict[str, Any]] = {}
    """benchmarks/."""
    experiments: dict[str, dict[str, Any]] = {}
    """experiments/."""


EXTERNAL = "external"
"""Stands for the scale of models that were not trained here, in files and tables."""


class ExternalModel(Section):
    """Weights that were not trained here, evaluated on the benchmark's tasks and shown in the same tables."""

    title: str
    """Name in tables."""
    model: str
    """OpenCLIP architecture."""
    pretrained: str
    """OpenCLIP's name of published weights, which are then downloaded, or the path of a file."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Precision and batch size."""
    resources: Resources = Resources()
    """Per task."""


class Selection(Section):
    """The top-level file: which scales, methods, seeds, benchmark and experiments make one study."""

    name: Name
    """Folder of the study's results."""
    scales: list[Name]
    """Files in scales/."""
    methods: list[Name]
    """Files in methods/."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    """One run per seed, method and scale."""
    benchmark: Name
    """File in benchmarks/."""
    experiments: list[Name]
    """Files in experiments/."""
    external_models: dict[Name, ExternalModel] = {}
    """Name → published weights that tables show beside the runs."""
    allow_missing_tasks: bool = False
    """Go on without evaluation sets that are gated or not there; tables name them and show no average over them."""
    figures: FigureStyle = FigureStyle()
    """Looks of all figures."""
    overrides: Overrides = Overrides()
    """Changes to the named files."""

    @model_validator(mode="after")
    def _external_is_no_scale(self) -> Selection:
        if self.external_models and EXTERNAL in self.scales:
            raise ValueError(f"no scale may be named '{EXTERNAL}' beside external_models")
        return self
