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
        f"{STUDY}/timings/evaluate/{{scale}}/{{run}}/{{task}}.tsv"
    conda:
        ENVIRONMENT
    threads: evaluate_resource("cpus")
    resources:
        gpu=evaluate_resource("gpus"),
        mem_mb=evaluate_resource("mem_mb"),
        runtime=evaluate_resource("runtime_min"),
        loader_workers=evaluate_resource("workers"),
    params:
        settings=lambda wildcards: settings_file(
            "evaluate", stage_settings.evaluate(study, wildcards.scale, wildcards.task)
        ),
        run=subpath(input.weights, parent=True),
        folder=subpath(input.task, parent=True),
    shell:
        "amorlip evaluate --settings {params.settings:q} --run {params.run:q} --key {wildcards.task:q}"
        " --folder {params.folder:q} --workers {resources.loader_workers} --output {output.result:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule evaluate_external:
    """Evaluate one external model, which this study did not train, on one task."""
    input:
        task=rules.tasks.output[0],
        weights=external_file,
    output:
        result=f"{STUDY}/evaluations/external/{{external}}/{{task}}.json",
        predictions=f"{STUDY}/evaluations/external/{{external}}/{{task}}.parquet",
    log:
        f"{STUDY}/logs/evaluate/external/{{external}}/{{task}}.log",
    benchmark:
        f"{STUDY}/timings/evaluate/external/{{external}}/{{task}}.tsv"
    conda:
        ENVIRONMENT
    threads: external_resource("cpus")
    resources:
        gpu=external_resource("gpus"),
        mem_mb=external_resource("mem_mb"),
        runtime=external_resource("runtime_min"),
        loader_workers=external_resource("workers"),
    params:
        settings=lambda wildcards: settings_file(
            "evaluate", stage_settings.evaluate_external(study, wildcards.external, wildcards.task)
        ),
        model=lambda wildcards: external_of(wildcards).model,
        pretrained=lambda wildcards: external_of(wildcards).pretrained,
        folder=subpath(input.task, parent=True),
    shell:
        "amorlip evaluate --settings {params.settings:q} --model {params.model:q} --pretrained {params.pretrained:q}"
        " --key {wildcards.task:q} --folder {params.folder:q} --workers {resources.loader_workers}"
        " --output {output.result:q} --predictions {output.predictions:q} > {log:q} 2>&1"
