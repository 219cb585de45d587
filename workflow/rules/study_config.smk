"""Study_config: the study's top-level settings, kept with its results."""


rule study_config:
    """Write the study's top-level configuration, command-line changes included, next to its results."""
    output:
        f"{STUDY}/config.yaml",
    log:
        f"{STUDY}/logs/study_config.log",
    benchmark:
        f"{STUDY}/timings/study_config.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_file("study_config", stage_settings.study_config(study)),
    shell:
        "amorlip study_config --settings {params.settings:q} --output {output:q} > {log:q} 2>&1"
