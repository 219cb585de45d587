"""Report: tables, figures, and Snakemake's own report that shows them."""


rule table:
    """Write one table as csv, Markdown, LaTeX and HTML."""
    input:
        evaluations=lambda wildcards: evaluations_of(wildcards.table) + external_evaluations(),
        metrics=lambda wildcards: metrics_of(wildcards.table),
        manifests=lambda wildcards: manifests_of(wildcards.table),
        published=lambda wildcards: paper_file(wildcards.table, "published"),
        later_work=lambda wildcards: paper_file(wildcards.table, "later_work"),
    output:
        csv=f"{STUDY}/tables/{{table}}.csv",
        md=f"{STUDY}/tables/{{table}}.md",
        tex=f"{STUDY}/tables/{{table}}.tex",
        html=report(
            f"{STUDY}/tables/{{table}}.html",
            caption="../report/table.rst",
            category="Tables",
            labels=lambda wildcards: {"table": report_text.label(study.experiments[wildcards.table].title)},
        ),
    log:
        f"{STUDY}/logs/table/{{table}}.log",
    benchmark:
        f"{STUDY}/timings/table/{{table}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=table_settings_file,
        caption=lambda wildcards: report_text.caption(study.experiments[wildcards.table].caption),
    shell:
        "amorlip table --settings {params.settings:q} --name {wildcards.table} --outputs {output:q} > {log:q} 2>&1"


rule figure:
    """Draw one figure as png and pdf."""
    input:
        evaluations=lambda wildcards: evaluations_of(wildcards.figure),
        metrics=lambda wildcards: metrics_of(wildcards.figure),
    output:
        png=report(
            f"{STUDY}/figures/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels=lambda wildcards: {"figure": report_text.label(study.experiments[wildcards.figure].title)},
        ),
        pdf=f"{STUDY}/figures/{{figure}}.pdf",
    log:
        f"{STUDY}/logs/figure/{{figure}}.log",
    benchmark:
        f"{STUDY}/timings/figure/{{figure}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=figure_settings_file,
        caption=lambda wildcards: report_text.caption(study.experiments[wildcards.figure].caption),
    shell:
        "amorlip figure --settings {params.settings:q} --name {wildcards.figure} --outputs {output:q} > {log:q} 2>&1"


rule study_config:
    """Write the study's top-level configuration, command-line changes included, next to its results."""
    output:
        f"{STUDY}/config.yaml",
    log:
        f"{STUDY}/logs/study_config.log",
    benchmark:
        f"{STUDY}/timings/study_config.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_file("study_config", stage_settings.study_config(study)),
    shell:
        "amorlip study_config --settings {params.settings:q} --output {output:q} > {log:q} 2>&1"


rule report:
    """Write all tables and figures with their captions to one HTML file, by Snakemake's report."""
    input:
        config=rules.study_config.output,
        tables=expand(rules.table.output, table=experiments_of("table")),
        figures=expand(rules.figure.output, figure=experiments_of("figure")),
    output:
        f"{STUDY}/report.html",
    log:
        f"{STUDY}/logs/report.log",
    benchmark:
        f"{STUDY}/timings/report.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        snakefile=workflow.main_snakefile,
    shell:
        # --nolock: this second Snakemake only reads the records of finished jobs, while the first holds the lock
        "snakemake --snakefile {params.snakefile:q} {input.tables:q} {input.figures:q} --configfile {input.config:q}"
        " --nolock --report {output:q} > {log:q} 2>&1"
