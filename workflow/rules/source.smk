"""Source: the pictures of the demo, and the lists of addresses and captions of every corpus."""


rule artwork:
    """Fetch the pinned emoji packages and render their pictures."""
    output:
        "results/corpora/{corpus}/artwork/pictures.parquet",
    log:
        "results/corpora/{corpus}/logs/artwork.log",
    benchmark:
        "results/corpora/{corpus}/benchmarks/artwork.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=artwork_settings,
        file=written("artwork", artwork_settings),
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip artwork --settings {params.file:q} --output {params.folder:q} > {log:q} 2>&1"


rule urls:
    """List the addresses and captions of a corpus, with the split and the id of each pair."""
    input:
        artwork=artwork_of,
    output:
        "results/corpora/{corpus}/urls.parquet",
    log:
        "results/corpora/{corpus}/logs/urls.log",
    benchmark:
        "results/corpora/{corpus}/benchmarks/urls.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        settings=urls_settings,
        file=written("urls", urls_settings),
        artwork="results/corpora/{corpus}/artwork",
    shell:
        "amorlip urls --settings {params.file:q} --artwork {params.artwork:q} --output {output:q} > {log:q} 2>&1"
