"""Weights: those that others have published, downloaded for nodes without internet."""


rule weights:
    """Download published weights into OpenCLIP's cache, for `fetch`; otherwise `evaluate_external` does it itself."""
    output:
        f"{STUDY}/weights/{{external}}.json",
    log:
        f"{STUDY}/logs/weights/{{external}}.log",
    benchmark:
        f"{STUDY}/timings/weights/{{external}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=lambda wildcards: settings_file("weights", stage_settings.weights(study, wildcards.external)),
    shell:
        "amorlip weights --settings {params.settings:q} --output {output:q} > {log:q} 2>&1"
