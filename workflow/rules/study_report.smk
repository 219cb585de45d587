"""Study_report: the study's own report, with a page for each run and each task."""


rule study_report:
    """Write everything about the study to one HTML file: tables, figures, and from each number the way to its run."""
    input:
        config=rules.study_config.output,
        corpora=corpus_files([*rules.download.output, *rules.shards.output]),
        tasks=expand(rules.tasks.output, task=study.benchmark.tasks),
        runs=run_files(),
        evaluations=map(evaluation_record, EVALUATION_JOBS.values()),
        tables=rules.report.input.tables,
        figures=rules.report.input.figures,
    output:
        f"{STUDY}/study.html",
    log:
        f"{STUDY}/logs/study_report.log",
    benchmark:
        f"{STUDY}/timings/study_report.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_file("study_report", stage_settings.study_report(study)),
    shell:
        "amorlip study_report --settings {params.settings:q} --output {output:q} > {log:q} 2>&1"
