"""Train: one run of one method at one scale with one seed."""


rule train:
    """Train one model. An interrupted run resumes from its checkpoint, which is not a declared output."""
    input:
        manifest=lambda wildcards: f"results/corpora/{run_of(wildcards).recipe.corpus}/train/manifest.json",
        # An evaluation set that is made again is no reason to train again.
        tasks=lambda wildcards: ancient(expand(rules.tasks.output, task=run_of(wildcards).recipe.epoch_tasks)),
    output:
        weights=f"{RUN}/model.safetensors",
        metrics=f"{RUN}/metrics.jsonl",
        run=f"{RUN}/run.yaml",
        provenance=f"{RUN}/provenance.json",
    log:
        f"{STUDY}/logs/train/{{scale}}/{{run}}.log",
    benchmark:
        f"{STUDY}/timings/train/{{scale}}/{{run}}.tsv"
    retries: TRAIN_RETRIES
    conda:
        ENVIRONMENT
    threads: train_resource("cpus")
    resources:
        # one task a node; without tasks_per_gpu the executor would ask for the tasks on each GPU
        nodes=train_resource("nodes"),
        tasks=train_resource("nodes"),
        tasks_per_gpu=0,
        gpu=lambda wildcards: train_resource("gpus")(wildcards) * train_resource("nodes")(wildcards),
        gpus_per_node=train_resource("gpus"),
        mem_mb=train_resource("mem_mb"),
        runtime=train_resource("runtime_min"),
        device=lambda wildcards: run_of(wildcards).recipe.device,
        loader_workers=lambda wildcards: run_of(wildcards).recipe.loader.workers,
        checkpoint_every_steps=lambda wildcards: run_of(wildcards).recipe.checkpoint_every_steps,
        checkpoint_every_minutes=lambda wildcards: run_of(wildcards).recipe.checkpoint_every_minutes,
    params:
        settings=lambda wildcards: settings_file("train", stage_settings.train(study, wildcards.scale, wildcards.run)),
        tasks="results/tasks",
        shards=subpath(input.manifest, parent=True),
        folder=subpath(output.weights, parent=True),
    shell:
        # `exec` and no pipe: signals and the exit code pass unchanged. --log: Snakemake deletes a log that it knows.
        "exec amorlip train --settings {params.settings:q} --shards {params.shards:q} --output {params.folder:q}"
        " --tasks {params.tasks:q} --workers {resources.loader_workers}"
        " --checkpoint-every-steps {resources.checkpoint_every_steps}"
        " --checkpoint-every-minutes {resources.checkpoint_every_minutes}"
        " --gpus {resources.gpus_per_node} --nodes {resources.nodes} --device {resources.device}"
        f" --log {{log:q}} --wait{TIME_LIMIT}"
