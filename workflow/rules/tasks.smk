"""Tasks: the files of every evaluation set, in the layouts of the DataComp benchmark."""


rule tasks:
    """Build, download or link the files of one evaluation task."""
    input:
        artwork=pictures_of,
    output:
        "results/benchmarks/{task}/task.json",
    log:
        "results/benchmarks/logs/{task}.log",
    benchmark:
        "results/benchmarks/logs/{task}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=240,
        allow_missing=int(study.selection.allow_missing_tasks),
    params:
        settings=tasks_settings,
        file=written("tasks", tasks_settings),
        artwork=lambda wildcards: f"results/corpora/{study.benchmark.tasks[wildcards.task].source.corpus}/artwork",
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip tasks --settings {params.file:q} --artwork {params.artwork:q} --output {params.folder:q}"
        " --allow-missing {resources.allow_missing} > {log:q} 2>&1"
