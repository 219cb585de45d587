"""Source: the pictures of emoji, and the list of addresses and captions of each corpus."""


rule artwork:
    """Download the pinned emoji packages and render their pictures."""
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


rule urls:
    """List the addresses and captions of a corpus, with the split and the id of each pair."""
    input:
        artwork=artwork_of,
        lists=lists_of,
    output:
        "results/corpora/{corpus}/urls.parquet",
    log:
        "results/corpora/{corpus}/logs/urls.log",
    benchmark:
        "results/corpora/{corpus}/timings/urls.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        settings=lambda wildcards: settings_file("urls", stage_settings.urls(study, wildcards.corpus)),
        artwork="results/corpora/{corpus}/artwork",
    shell:
        "amorlip urls --settings {params.settings:q} --artwork {params.artwork:q} --output {output:q} > {log:q} 2>&1"
