"""Evaluate: one model on one task."""


rule evaluate:
    """Evaluate one trained model on one task."""
    input:
        weights=rules.train.output.weights,
        run=rules.train.output.run,
        task=rules.tasks.output[0],
    output:
        result=f"{STUDY}/evaluations/{{scale}}/{{run}}/{{task}}.json",
        predictions=f"{STUDY}/evaluations/{{scale}}/{{run}}/{{task}}.parquet",
    log:
        f"{STUDY}/logs/evaluate/{{scale}}/{{run}}/{{task}}.log",
    benchmark:
        f"{STUDY}/benchmarks/evaluate/{{scale}}/{{run}}/{{task}}.tsv"
    conda:
        ENVIRONMENT
    threads: evaluate_resource("cpus")
    resources:
        gpu=evaluate_resource("gpus"),
        mem_mb=evaluate_resource("mem_mb"),
        runtime=evaluate_resource("runtime_min"),
        loader_workers=evaluate_resource("workers"),
    params:
        settings=evaluate_settings,
        file=written("evaluate", evaluate_settings),
        run=subpath(input.weights, parent=True),
        folder=subpath(input.task, parent=True),
    shell:
        "amorlip evaluate --settings {params.file:q} --run {params.run:q} --key {wildcards.task:q}"
        " --folder {params.folder:q} --workers {resources.loader_workers} --output {output.result:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule evaluate_external:
    """Evaluate one model that was not trained here on one task."""
    input:
        task=rules.tasks.output[0],
        weights=external_file,
    output:
        result=f"{STUDY}/evaluations/external/{{external}}/{{task}}.json",
        predictions=f"{STUDY}/evaluations/external/{{external}}/{{task}}.parquet",
    log:
        f"{STUDY}/logs/evaluate/external/{{external}}/{{task}}.log",
    benchmark:
        f"{STUDY}/benchmarks/evaluate/external/{{external}}/{{task}}.tsv"
    conda:
        ENVIRONMENT
    threads: external_resource("cpus")
    resources:
        gpu=external_resource("gpus"),
        mem_mb=external_resource("mem_mb"),
        runtime=external_resource("runtime_min"),
        loader_workers=external_resource("workers"),
    params:
        settings=external_settings,
        file=written("evaluate", external_settings),
        model=lambda wildcards: external_of(wildcards).model,
        pretrained=lambda wildcards: external_of(wildcards).pretrained,
        folder=subpath(input.task, parent=True),
    shell:
        "amorlip evaluate --settings {params.file:q} --model {params.model:q} --pretrained {params.pretrained:q}"
        " --key {wildcards.task:q} --folder {params.folder:q} --workers {resources.loader_workers}"
        " --output {output.result:q} --predictions {output.predictions:q} > {log:q} 2>&1"
