"""Download: the pairs of a corpus as WebDataset shards."""


rule download_part:
    """Download one part of a split's list, for a corpus whose download is divided over several jobs."""
    input:
        urls=rules.urls.output,
    output:
        temp("results/corpora/{corpus}/{split}/parts/{part}-of-{parts}.json"),
    log:
        "results/corpora/{corpus}/logs/download-{split}-{part}-of-{parts}.log",
    benchmark:
        "results/corpora/{corpus}/timings/download-{split}-{part}-of-{parts}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: study.corpora[wildcards.corpus].download.processes
    resources:
        mem_mb=16000,
        runtime=lambda wildcards: max(240, 2880 // int(wildcards.parts)),
        connections=lambda wildcards: study.corpora[wildcards.corpus].download.threads,
        timeout_s=lambda wildcards: study.corpora[wildcards.corpus].download.timeout_s,
        passes=lambda wildcards: study.corpora[wildcards.corpus].download.retries,
    params:
        settings=corpus_settings("download"),
        folder=subpath(output[0], ancestor=2),
    shell:
        "amorlip download --settings {params.settings:q} --split {wildcards.split} --urls {input.urls:q}"
        " --output {params.folder:q} --part {wildcards.part} --parts {wildcards.parts} --processes {threads}"
        " --threads {resources.connections} --timeout-s {resources.timeout_s} --retries {resources.passes}"
        " > {log:q} 2>&1"


rule download:
    """Download the pairs of one split into WebDataset shards, undeclared outputs that a failed job keeps."""
    input:
        urls=urls_of,
        parts=parts_of,
        deleted="results/deleted/corpora/{corpus}/{split}.json",
    output:
        "results/corpora/{corpus}/{split}/download.json",
    log:
        "results/corpora/{corpus}/logs/download-{split}.log",
    benchmark:
        "results/corpora/{corpus}/timings/download-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards, input: 1 if input.parts else study.corpora[wildcards.corpus].download.processes
    resources:
        mem_mb=16000,
        runtime=2880,
        connections=lambda wildcards: study.corpora[wildcards.corpus].download.threads,
        timeout_s=lambda wildcards: study.corpora[wildcards.corpus].download.timeout_s,
        passes=lambda wildcards: study.corpora[wildcards.corpus].download.retries,
        parts=lambda wildcards, input: max(1, len(input.parts)),
    params:
        settings=corpus_settings("download"),
        urls="results/corpora/{corpus}/urls.parquet",
        folder=subpath(output[0], parent=True),
    shell:
        "amorlip download --settings {params.settings:q} --split {wildcards.split} --urls {params.urls:q}"
        " --output {params.folder:q} --parts {resources.parts} --processes {threads}"
        " --threads {resources.connections} --timeout-s {resources.timeout_s} --retries {resources.passes} > {log:q} 2>&1"
