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
    task=one_of(study.benchmark.tasks),
    table=one_of(experiments_of("table")),
    figure=one_of(experiments_of("figure")),


def without(section, *keys):
    """A section as a rule's params: JSON, less the keys that its stage does not depend on."""
    return resolve.as_json(section.model_dump(exclude=set(keys)))


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


def train_resource(key):
    """A look-up of what a training job at this scale asks for."""
    return lambda wildcards: getattr(study.scales[wildcards.scale].train_resources, key)


def epoch_tasks_of(wildcards):
    """The tasks that are evaluated after each epoch of a run."""
    return {key: study.benchmark.tasks[key] for key in run_of(wildcards).recipe.epoch_tasks}


def evaluate_resource(key):
    """A look-up of what an evaluation job at this scale asks for."""
    return lambda wildcards: getattr(study.scales[wildcards.scale].evaluate_resources, key)


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


def shown(experiment):
    """What a table or figure depends on beside its inputs: its own keys, titles, and the benchmark's columns."""
    return {
        "experiment": study.experiments[experiment].model_dump(),
        "benchmark": study.benchmark.model_dump(),
        "runs": [
            {
                **run.model_dump(include={"scale", "method", "variant", "seed"}),
                "title": title,
                "scale_title": study.scales[run.scale].title,
            }
            for title, run in study.experiment_runs(experiment)
        ],
    }
