"""Source: the pictures of the demo, and the lists of addresses and captions of every corpus."""


rule artwork:
    """Fetch the pinned emoji packages and render their pictures."""
    output:
        "results/corpora/{corpus}/artwork/pictures.parquet",
    params:
        settings=lambda wildcards: resolve.as_json(study.corpora[wildcards.corpus].emoji),
        folder=subpath(output[0], parent=True),
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        "results/corpora/{corpus}/logs/artwork.log",
    benchmark:
        "results/corpora/{corpus}/benchmarks/artwork.tsv"
    conda:
        ENVIRONMENT
    shell:
        "amorlip artwork --settings {params.settings:q} --output {params.folder:q} > {log:q} 2>&1"


rule urls:
    """List the addresses and captions of a corpus, with the split and the id of each pair."""
    input:
        artwork=artwork_of,
    output:
        "results/corpora/{corpus}/urls.parquet",
    params:
        settings=lambda wildcards: without(
            study.corpora[wildcards.corpus], "title", "image", "download", "samples_per_shard", "min_yield", "published_pairs"
        ),
        artwork="results/corpora/{corpus}/artwork",
    resources:
        mem_mb=8000,
        runtime=60,
    log:
        "results/corpora/{corpus}/logs/urls.log",
    benchmark:
        "results/corpora/{corpus}/benchmarks/urls.tsv"
    conda:
        ENVIRONMENT
    shell:
        "amorlip urls --settings {params.settings:q} --artwork {params.artwork:q} --output {output:q} > {log:q} 2>&1"
