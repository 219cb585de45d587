"""What several rules use: folders, wildcard constraints, and functions that look up values in the study."""

STUDY = f"results/{study.selection.name}"
RUN = f"{STUDY}/runs/{{scale}}/{{run}}"
ENVIRONMENT = "../../envs/amorlip.yaml"
EVALUATION_JOBS = {(job.scale, job.model, job.share): job for job in evaluation_jobs.jobs(study)}

# `--jobs` is given to executors that submit jobs, and `--cores` to the local one.
SUBMITS = workflow.is_main_process and workflow.resource_settings.nodes is not None
# A run that stopped at its time limit puts its own job back into the queue, which is no retry. Where a cluster forbids
# that, Snakemake submits it again. A run that makes no progress stops itself. Not in the job: it would repeat there.
TRAIN_RETRIES = 20 if SUBMITS else None
# A local job has no time limit.
TIME_LIMIT = " --time-limit-min {resources.runtime}" if workflow.remote_exec else ""

# Without this, as many local jobs run at once as there are cores, however few the GPUs are. `--resources gpu=N` wins.
if workflow.is_main_process and not SUBMITS and not workflow.output_settings.dryrun:
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(gpus.visible()))


def one_of(names):
    """A wildcard constraint that matches exactly these names."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


def experiments_of(kind):
    """Names of the study's tables or figures."""
    return [name for name, experiment in study.experiments.items() if experiment.kind == kind]


def files_of(experiment):
    """All files of a table or figure."""
    kind = study.experiments[experiment].kind
    return expand(getattr(rules, kind).output, **{kind: experiment})


wildcard_constraints:
    corpus=one_of(study.corpora),
    split="train|validation",
    part=r"\d+",
    parts=r"\d+",
    scale=one_of(study.scales),
    run=one_of({run.name for _, run in study.runs}),
    external=one_of(study.selection.external_models),
    task=one_of(study.benchmark.tasks),
    share=r"\d+-of-\d+",
    table=one_of(experiments_of("table")),
    figure=one_of(experiments_of("figure")),


def settings_file(stage, settings, pins=None):
    """The file that hands a stage its settings. Its name holds their digest, so a changed setting reruns the job."""
    return str(studies.settings_file(stage, settings, RESULTS / "settings", pins))  # Snakemake records no Path


def corpus_settings(stage):
    """The settings of a stage that makes a corpus."""

    def of_corpus(wildcards):
        name = wildcards.corpus
        settings = getattr(stage_settings, stage)(study, name)
        return settings_file(stage, settings, stage_settings.pins_of_corpus(study, name))

    return of_corpus


def task_settings_file(wildcards):
    """The settings of the stage that makes a task."""
    settings = stage_settings.tasks(study, wildcards.task)
    return settings_file("tasks", settings, stage_settings.pins_of_task(study, wildcards.task))


def artwork_of(wildcards):
    """The pictures that a corpus of emoji or icons consists of."""
    return rules.artwork.output if study.corpora[wildcards.corpus].is_rendered else []


def lists_of(wildcards):
    """The lists of addresses that a corpus is made from, where they are on this machine."""
    return user_files.lists(study.corpora[wildcards.corpus])


def urls_of(wildcards):
    """The list of addresses that a corpus is downloaded from; a mirror has none."""
    return [] if study.corpora[wildcards.corpus].source == "mirror" else rules.urls.output


def parts_of(wildcards):
    """The parts of a training split's download, where several jobs divide it."""
    settings = study.corpora[wildcards.corpus]
    if settings.source == "mirror" or wildcards.split != "train":
        return []
    folder = RESULTS / "corpora" / wildcards.corpus / wildcards.split
    parts = division.parts_in(folder, settings.download.jobs)
    return expand(rules.download_part.output, part=range(1, parts + 1), parts=parts, **wildcards) if parts > 1 else []


def pictures_of(wildcards):
    """The pictures that a task of emoji or icons is built from."""
    source = study.benchmark.tasks[wildcards.task].source
    return expand(rules.artwork.output, corpus=source.corpus) if source.is_rendered else []


def held_out_of(wildcards):
    """The validation split that a task of held-out pairs is built from."""
    source = study.benchmark.tasks[wildcards.task].source
    return expand(rules.shards.output, corpus=source.corpus, split="validation") if source.kind == "validation" else []


def run_of(wildcards):
    """The resolved run."""
    return study.run(wildcards.scale, wildcards.run)


def resource(resources, key):
    """A value of the section `resources`; without `workers`, all cores but one load data."""
    value = getattr(resources, key)
    return resources.cpus - 1 if value is None else value


def train_resource(key):
    """A function that returns a resource of a training job."""
    return lambda wildcards: getattr(study.scales[wildcards.scale].train_resources, key)


def evaluation_of(wildcards):
    """The job that evaluates some tasks of a run, or of an external model."""
    model = wildcards.get("external") or wildcards.run
    return EVALUATION_JOBS[wildcards.get("scale", EXTERNAL), model, wildcards.share]


def evaluated_tasks(wildcards):
    """The sets that an evaluation job needs."""
    return expand(rules.tasks.output, task=evaluation_of(wildcards).tasks)


def evaluate_resource(key):
    """A function that returns a resource of an evaluation job."""
    return lambda wildcards: resource(evaluation_of(wildcards).resources, key)


def external_of(wildcards):
    """The external model, as in the configuration."""
    return study.selection.external_models[wildcards.external]


def external_file(wildcards):
    """The weights file of an external model, if it is given by path."""
    return user_files.weights(external_of(wildcards))


def evaluations_of(experiment):
    """JSON files of the runs that a table or figure shows, on every task."""
    return [
        f"{STUDY}/evaluations/{run.scale}/{run.name}/{task}.json"
        for _, run in study.experiment_runs(experiment)
        for task in study.benchmark.tasks
    ]


def external_evaluations():
    """JSON files of all external models, on every task."""
    names, tasks = study.selection.external_models, study.benchmark.tasks
    return expand(f"{STUDY}/evaluations/{EXTERNAL}/{{name}}/{{task}}.json", name=names, task=tasks)


def records_of(experiment, external=False):
    """Records of the jobs that write these files, which are not declared as outputs."""
    models = {(run.scale, run.name) for _, run in study.experiment_runs(experiment)}
    models |= {(EXTERNAL, name) for name in study.selection.external_models} if external else set()
    return [evaluation_record(job) for job in EVALUATION_JOBS.values() if (job.scale, job.model) in models]


def evaluation_record(job):
    """The record of an evaluation job."""
    return f"{STUDY}/evaluations/{job.scale}/{job.model}/{evaluation_jobs.record_name(job.share)}"


def corpus_files(of_splits):
    """Files of the corpora: pictures, lists of addresses, and for the splits that are used the files `of_splits`."""
    names, used = zip(*corpus_jobs.splits(study))
    return [
        *expand(rules.artwork.output, corpus=corpus_jobs.rendered(study)),
        *expand(rules.urls.output, corpus=corpus_jobs.listed(study)),
        *expand(of_splits, zip, corpus=names, split=used),
    ]


def fetched_files():
    """Every file whose job needs the internet."""
    tasks, external = study.benchmark.tasks, study.selection.external_models
    return [
        *corpus_files(rules.download.output),
        *expand(rules.tasks.output, task=[name for name, task in tasks.items() if task.source.kind == "hub"]),
        *expand(
            rules.weights.output, external=[name for name, model in external.items() if not user_files.weights(model)]
        ),
    ]


def run_files():
    """Every file of the runs."""
    scales, names = zip(*((run.scale, run.name) for _, run in study.runs))
    return expand(rules.train.output, zip, scale=scales, run=names)


def metrics_of(experiment):
    """metrics.jsonl of the runs that a table or figure shows."""
    return [f"{STUDY}/runs/{run.scale}/{run.name}/metrics.jsonl" for _, run in study.experiment_runs(experiment)]


def provenance_of(experiment):
    """provenance.json of the runs of a table or figure that shows what training costs."""
    if not shows_cost(study.options[experiment]):
        return []
    return [f"{STUDY}/runs/{run.scale}/{run.name}/provenance.json" for _, run in study.experiment_runs(experiment)]


def cost_file_of(table):
    """The file of measured costs that a table's option names, in a list, or nothing."""
    name = study.experiments[table].options.get("cost_file")
    return [name] if name else []


def manifests_of(experiment):
    """Manifests of the corpora that a table's runs were trained on."""
    corpora = {run.recipe.corpus for _, run in study.experiment_runs(experiment)}
    return expand("results/corpora/{corpus}/train/manifest.json", corpus=sorted(corpora))


def paper_file(experiment, option):
    """The file in config/paper/ that an option of a table or figure names, in a list, or nothing."""
    name = study.experiments[experiment].options.get(option)
    return [os.path.relpath(study.folder / "paper" / f"{name}.csv")] if name else []


def table_settings_file(wildcards):
    """A table's settings. They list its inputs, but may not take them from Snakemake's `input`: a param made of that
    counts as derived, and a change in it reruns nothing."""
    settings = stage_settings.table(
        study,
        wildcards.table,
        evaluations=evaluations_of(wildcards.table) + external_evaluations(),
        metrics=metrics_of(wildcards.table),
        manifests=manifests_of(wildcards.table),
        provenance=provenance_of(wildcards.table),
        published=next(iter(paper_file(wildcards.table, "published")), None),
        later_work=next(iter(paper_file(wildcards.table, "later_work")), None),
    )
    return settings_file("table", settings)


def figure_settings_file(wildcards):
    """A figure's settings; see table_settings_file."""
    settings = stage_settings.figure(
        study,
        wildcards.figure,
        evaluations=evaluations_of(wildcards.figure),
        metrics=metrics_of(wildcards.figure),
        published=next(iter(paper_file(wildcards.figure, "published")), None),
        provenance=provenance_of(wildcards.figure),
    )
    return settings_file("figure", settings)
