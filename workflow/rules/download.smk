"""Download: the pairs of a corpus as WebDataset shards."""


rule download:
    """Download the pairs of one split into WebDataset shards, undeclared outputs that a failed job keeps."""
    input:
        urls=urls_of,
        deleted="results/deleted/corpora/{corpus}/{split}.json",
    output:
        "results/corpora/{corpus}/{split}/download.json",
    log:
        "results/corpora/{corpus}/logs/download-{split}.log",
    benchmark:
        "results/corpora/{corpus}/timings/download-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: study.corpora[wildcards.corpus].download.processes
    resources:
        mem_mb=16000,
        runtime=2880,
        connections=lambda wildcards: study.corpora[wildcards.corpus].download.threads,
        timeout_s=lambda wildcards: study.corpora[wildcards.corpus].download.timeout_s,
        passes=lambda wildcards: study.corpora[wildcards.corpus].download.retries,
    params:
        settings=lambda wildcards: settings_file("download", stage_settings.download(study, wildcards.corpus)),
        urls="results/corpora/{corpus}/urls.parquet",
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip download --settings {params.settings:q} --split {wildcards.split} --urls {params.urls:q}"
        " --output {params.folder:q} --processes {threads} --threads {resources.connections}"
        " --timeout-s {resources.timeout_s} --retries {resources.passes} > {log:q} 2>&1"
