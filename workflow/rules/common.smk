"""Names that several rules use: folders, patterns of the wildcards, and look-ups in the study."""

STUDY = f"results/{study.selection.name}"
RUN = f"{STUDY}/runs/{{scale}}/{{run}}"
ENVIRONMENT = "../../envs/amorlip.yaml"


def one_of(names):
    """A wildcard's pattern that matches exactly these names."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


def experiments_of(kind):
    """Names of the study's tables or figures."""
    return [name for name, experiment in study.experiments.items() if experiment.kind == kind]


wildcard_constraints:
    corpus=one_of(study.corpora),
    split="train|validation",
    scale=one_of(study.scales),
    run=one_of({run.name for _, run in study.runs}),
    external=one_of(study.selection.external_models),
    task=one_of(study.benchmark.tasks),
    table=one_of(experiments_of("table")),
    figure=one_of(experiments_of("figure")),


def written(stage, settings):
    """A param: the file that hands the param `settings` to the stage's command."""
    return lambda wildcards: studies.settings_file(stage, settings(wildcards), Path("results/settings"))


def artwork_of(wildcards):
    """The pictures a corpus is listed from, where its source is emoji."""
    return rules.artwork.output if study.corpora[wildcards.corpus].source == "emoji" else []


def urls_of(wildcards):
    """The list a corpus is downloaded from; a mirror has none."""
    return [] if study.corpora[wildcards.corpus].source == "mirror" else rules.urls.output


def pictures_of(wildcards):
    """The pictures a task is built from, where its source is emoji."""
    source = study.benchmark.tasks[wildcards.task].source
    return expand(rules.artwork.output, corpus=source.corpus) if source.kind == "emoji" else []


def run_of(wildcards):
    """The resolved run."""
    return study.run(wildcards.scale, wildcards.run)


def asked(resources, key):
    """A value of the section `resources`; data-loading processes follow the cores where they are not given."""
    value = getattr(resources, key)
    return resources.cpus - 1 if value is None else value


def train_resource(key):
    """A look-up of what a training job at this scale asks for."""
    return lambda wildcards: getattr(study.scales[wildcards.scale].train_resources, key)


def evaluate_resource(key):
    """A look-up of what an evaluation job at this scale asks for."""
    return lambda wildcards: asked(study.scales[wildcards.scale].evaluate_resources, key)


def external_of(wildcards):
    """Published weights, as the configuration names them."""
    return study.selection.external_models[wildcards.external]


def external_file(wildcards):
    """The file of published weights, where they are given as one."""
    pretrained = external_of(wildcards).pretrained
    return [pretrained] if os.path.isfile(pretrained) else []


def external_resource(key):
    """A look-up of what an evaluation of published weights asks for."""
    return lambda wildcards: asked(external_of(wildcards).resources, key)


def external_evaluations():
    """JSON files of all published weights, on every task."""
    return expand(
        rules.evaluate_external.output.result, external=study.selection.external_models, task=study.benchmark.tasks
    )


def evaluations_of(experiment):
    """JSON files of the runs that a table or figure shows, on every task."""
    return [
        f"{STUDY}/evaluations/{run.scale}/{run.name}/{task}.json"
        for _, run in study.experiment_runs(experiment)
        for task in study.benchmark.tasks
    ]


def metrics_of(experiment):
    """metrics.jsonl of the runs that a table or figure shows."""
    return [f"{STUDY}/runs/{run.scale}/{run.name}/metrics.jsonl" for _, run in study.experiment_runs(experiment)]


def manifests_of(experiment):
    """Manifests of the corpora that a table's runs were trained on."""
    corpora = {run.recipe.corpus for _, run in study.experiment_runs(experiment)}
    return expand("results/corpora/{corpus}/train/manifest.json", corpus=sorted(corpora))


def published_of(wildcards):
    """The file of published numbers that a table shows beside its own, in a list, or nothing."""
    name = study.experiments[wildcards.table].options.get("published")
    return [os.path.relpath(study.folder / "paper" / f"{name}.csv")] if name else []


# The settings of each stage: resolved leaf values, and only those its result depends on.


def artwork_settings(wildcards):
    """Packages and splits of the pictures."""
    return study.corpora[wildcards.corpus].emoji.model_dump()


def corpus_settings(wildcards, *unneeded):
    """A corpus without its title, its download speed, and `unneeded` keys."""
    return study.corpora[wildcards.corpus].model_dump(exclude={"title", "download", "published_pairs", *unneeded})


def urls_settings(wildcards):
    """Where the addresses and captions come from."""
    return corpus_settings(wildcards, "image", "samples_per_shard", "min_yield")


def download_settings(wildcards):
    """What is downloaded and how it is stored."""
    return corpus_settings(wildcards, "min_yield")


def shards_settings(wildcards):
    """What the shards should hold."""
    return corpus_settings(wildcards)


def tasks_settings(wildcards):
    """Where a task's files come from."""
    return study.benchmark.tasks[wildcards.task].source.model_dump()


def task_settings(key):
    """What an evaluation of a task depends on."""
    return study.benchmark.tasks[key].model_dump(exclude={"title", "source", "random_score"})


def train_settings(wildcards):
    """The run, without the keys that change no result, and the tasks it is evaluated on."""
    run = study.run(wildcards.scale, wildcards.run)
    return {
        "run": run.model_dump(exclude={"recipe": studies.SPEED_KEYS}),
        "tasks": {key: task_settings(key) for key in run.recipe.epoch_tasks},
    }


def evaluate_settings(wildcards):
    """The task, and precision and batch size."""
    evaluation = study.scales[wildcards.scale].evaluation
    return {"task": task_settings(wildcards.task), "evaluation": evaluation.model_dump()}


def external_settings(wildcards):
    """The task, precision and batch size, and the name under which tables look for the result."""
    evaluation = external_of(wildcards).evaluation.model_dump()
    return {"task": task_settings(wildcards.task), "evaluation": evaluation, "name": wildcards.external}


def shown_settings(experiment):
    """What a table or figure shows: its own keys, the benchmark's titles and columns, the runs and their files."""
    return {
        "experiment": study.experiments[experiment],
        "benchmark": study.benchmark,
        "runs": [
            display.RunLabel(
                **run.model_dump(include={"scale", "method", "variant", "seed"}),
                title=title,
                scale_title=study.scales[run.scale].title,
            )
            for title, run in study.experiment_runs(experiment)
        ],
        "evaluations": evaluations_of(experiment),
        "metrics": metrics_of(experiment),
    }


def table_settings(wildcards):
    """What the table shows, with the corpora's yields and the published numbers that it is compared with."""
    shown = shown_settings(wildcards.table)
    shown["evaluations"] += external_evaluations()
    shown["runs"] += [
        display.external_label(name, model.title) for name, model in study.selection.external_models.items()
    ]
    return display.TableSettings(
        **shown,
        manifests=manifests_of(wildcards.table),
        corpora={
            name: display.CorpusLabel(title=corpus.title, published_pairs=corpus.published_pairs)
            for name, corpus in study.corpora.items()
        },
        published=next(iter(published_of(wildcards)), None),
    ).model_dump(mode="json")


def figure_settings(wildcards):
    """What the figure shows, and its looks."""
    shown = shown_settings(wildcards.figure)
    return display.FigureSettings(**shown, style=study.selection.figures).model_dump(mode="json")


def selection_settings(wildcards):
    """The study's top-level configuration."""
    return study.selection.model_dump()
