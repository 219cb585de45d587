"""Artwork: the pictures of emoji, the demo's source, and of icon sets."""


rule artwork:
    """Download the pinned packages of drawings and render their pictures."""
    input:
        deleted="results/deleted/corpora/{corpus}/artwork.json",
    output:
        "results/corpora/{corpus}/artwork/pictures.parquet",
    log:
        "results/corpora/{corpus}/logs/artwork.log",
    benchmark:
        "results/corpora/{corpus}/timings/artwork.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wildcards: settings_file("artwork", stage_settings.artwork(study, wildcards.corpus)),
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip artwork --settings {params.settings:q} --output {params.folder:q} > {log:q} 2>&1"
