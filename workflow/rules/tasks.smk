"""Tasks: the files of each evaluation set, in the layout of the DataComp benchmark."""


rule tasks:
    """Build, download or link the files of one evaluation task."""
    input:
        artwork=pictures_of,
        validation=held_out_of,
        deleted="results/deleted/tasks/{task}.json",
    output:
        "results/tasks/{task}/task.json",
    log:
        "results/tasks/logs/{task}.log",
    benchmark:
        "results/tasks/timings/{task}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=240,
        allow_missing=int(study.selection.allow_missing_tasks),
    params:
        settings=task_settings_file,
        # A user's folder may hold any number of files, so its state is a param and not a list of inputs.
        stamp=lambda wildcards: user_files.stamp(study.benchmark.tasks[wildcards.task].source),
        artwork=lambda wildcards: f"results/corpora/{study.benchmark.tasks[wildcards.task].source.corpus}/artwork",
        validation=lambda wildcards: f"results/corpora/{study.benchmark.tasks[wildcards.task].source.corpus}/validation",
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip tasks --settings {params.settings:q} --artwork {params.artwork:q} --validation {params.validation:q}"
        " --output {params.folder:q} --allow-missing {resources.allow_missing} > {log:q} 2>&1"
