"""Evaluate: one model on some or all tasks."""


rule evaluate:
    """Evaluate one trained model. Its results are undeclared outputs: a failed job keeps those it has computed."""
    input:
        weights=rules.train.output.weights,
        run=rules.train.output.run,
        tasks=evaluated_tasks,
        deleted=f"results/deleted/{study.selection.name}/evaluations/{{scale}}/{{run}}/{{share}}.json",
    output:
        f"{STUDY}/evaluations/{{scale}}/{{run}}/{evaluation_jobs.record_name('{share}')}",
    log:
        f"{STUDY}/logs/evaluate/{{scale}}/{{run}}/{{share}}.log",
    benchmark:
        f"{STUDY}/timings/evaluate/{{scale}}/{{run}}/{{share}}.tsv"
    conda:
        ENVIRONMENT
    threads: evaluate_resource("cpus")
    resources:
        gpu=evaluate_resource("gpus"),
        mem_mb=evaluate_resource("mem_mb"),
        runtime=lambda wildcards: evaluation_of(wildcards).runtime_min,
        device=lambda wildcards: study.scales[wildcards.scale].evaluation.device,
        loader_workers=evaluate_resource("workers"),
    params:
        settings=lambda wildcards: settings_file(
            "evaluate", stage_settings.evaluate(study, wildcards.scale, evaluation_of(wildcards).tasks)
        ),
        run=subpath(input.weights, parent=True),
        tasks="results/tasks",
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip evaluate --settings {params.settings:q} --run {params.run:q} --tasks {params.tasks:q}"
        " --workers {resources.loader_workers} --gpus {resources.gpu} --device {resources.device}"
        " --output {params.folder:q}"
        " --record {output:q} > {log:q} 2>&1"


rule evaluate_external:
    """Evaluate one external model, which this study did not train."""
    input:
        tasks=evaluated_tasks,
        weights=external_file,
        deleted=f"results/deleted/{study.selection.name}/evaluations/{EXTERNAL}/{{external}}/{{share}}.json",
    output:
        f"{STUDY}/evaluations/{EXTERNAL}/{{external}}/{evaluation_jobs.record_name('{share}')}",
    log:
        f"{STUDY}/logs/evaluate/{EXTERNAL}/{{external}}/{{share}}.log",
    benchmark:
        f"{STUDY}/timings/evaluate/{EXTERNAL}/{{external}}/{{share}}.tsv"
    conda:
        ENVIRONMENT
    threads: evaluate_resource("cpus")
    resources:
        gpu=evaluate_resource("gpus"),
        mem_mb=evaluate_resource("mem_mb"),
        runtime=lambda wildcards: evaluation_of(wildcards).runtime_min,
        device=lambda wildcards: external_of(wildcards).evaluation.device,
        loader_workers=evaluate_resource("workers"),
    params:
        settings=lambda wildcards: settings_file(
            "evaluate", stage_settings.evaluate_external(study, wildcards.external, evaluation_of(wildcards).tasks)
        ),
        model=lambda wildcards: external_of(wildcards).model,
        pretrained=lambda wildcards: external_of(wildcards).pretrained,
        tasks="results/tasks",
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip evaluate --settings {params.settings:q} --model {params.model:q} --pretrained {params.pretrained:q}"
        " --tasks {params.tasks:q} --workers {resources.loader_workers} --gpus {resources.gpu} --device {resources.device}"
        " --output {params.folder:q}"
        " --record {output:q} > {log:q} 2>&1"
