"""Urls: the list of addresses and captions of each corpus."""


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
        settings=corpus_settings("urls"),
        artwork="results/corpora/{corpus}/artwork",
    shell:
        "amorlip urls --settings {params.settings:q} --artwork {params.artwork:q} --output {output:q} > {log:q} 2>&1"
