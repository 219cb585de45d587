"""Shards: check every pair of a corpus, and write the manifest."""


rule shards:
    """Check every pair of one split; write the manifest (checksums, counts) and the index of the samples."""
    input:
        rules.download.output,
    output:
        "results/corpora/{corpus}/{split}/manifest.json",
        "results/corpora/{corpus}/{split}/index.parquet",
    log:
        "results/corpora/{corpus}/logs/shards-{split}.log",
    benchmark:
        "results/corpora/{corpus}/timings/shards-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=8000,
        runtime=480,
    params:
        settings=corpus_settings("shards"),
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip shards --settings {params.settings:q} --corpus {wildcards.corpus} --split {wildcards.split}"
        " --folder {params.folder:q} > {log:q} 2>&1"
