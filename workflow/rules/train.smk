"""Train: one run of one method at one scale with one seed."""


rule train:
    """Train one model; an interrupted run goes on from its checkpoint, which is no declared output."""
    input:
        manifest=lambda wildcards: f"results/corpora/{run_of(wildcards).recipe.corpus}/train/manifest.json",
        index=lambda wildcards: f"results/corpora/{run_of(wildcards).recipe.corpus}/train/index.parquet",
        tasks=lambda wildcards: expand(rules.tasks.output, task=epoch_tasks_of(wildcards)),
    output:
        weights=f"{RUN}/model.safetensors",
        metrics=f"{RUN}/metrics.jsonl",
        run=f"{RUN}/run.yaml",
        provenance=f"{RUN}/provenance.json",
    params:
        settings=lambda wildcards: resolve.as_json(run_of(wildcards).model_dump(exclude={"recipe": resolve.SPEED_KEYS})),
        tasks=lambda wildcards: resolve.as_json(
            {key: task.model_dump(exclude=resolve.TITLE_KEYS) for key, task in epoch_tasks_of(wildcards).items()}
        ),
        task_folders=lambda wildcards: [f"{key}=results/benchmarks/{key}" for key in epoch_tasks_of(wildcards)],
        shards=subpath(input.manifest, parent=True),
        folder=subpath(output.weights, parent=True),
        ranks=lambda wildcards: run_of(wildcards).recipe.ranks,
    threads: train_resource("cpus")
    resources:
        gpu=train_resource("gpus"),
        mem_mb=train_resource("mem_mb"),
        runtime=train_resource("runtime_min"),
        loader_workers=lambda wildcards: run_of(wildcards).recipe.loader.workers,
        checkpoint_every_steps=lambda wildcards: run_of(wildcards).recipe.checkpoint_every_steps,
    log:
        f"{STUDY}/logs/train/{{scale}}/{{run}}.log",
    benchmark:
        f"{STUDY}/benchmarks/train/{{scale}}/{{run}}.tsv"
    conda:
        ENVIRONMENT
    shell:
        "torchrun --standalone --nproc-per-node {params.ranks} -m amorlip train --settings {params.settings:q}"
        " --shards {params.shards:q} --output {params.folder:q} --tasks {params.tasks:q}"
        " --task-folder {params.task_folders:q} --workers {resources.loader_workers}"
        " --checkpoint-every-steps {resources.checkpoint_every_steps} 2>&1 | tee {log:q}"
