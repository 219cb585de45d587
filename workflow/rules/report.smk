"""Report: tables, figures, and Snakemake's own report that shows them."""


rule table:
    """Write one table as csv, Markdown, LaTeX and HTML."""
    input:
        evaluations=lambda wildcards: evaluations_of(wildcards.table),
        metrics=lambda wildcards: metrics_of(wildcards.table),
        manifests=lambda wildcards: manifests_of(wildcards.table),
    output:
        csv=f"{STUDY}/tables/{{table}}.csv",
        md=f"{STUDY}/tables/{{table}}.md",
        tex=f"{STUDY}/tables/{{table}}.tex",
        html=report(
            f"{STUDY}/tables/{{table}}.html",
            caption="../report/table.rst",
            category="Tables",
            labels=lambda wildcards: {"table": study.experiments[wildcards.table].title},
        ),
    params:
        settings=lambda wildcards: resolve.as_json(shown(wildcards.table)),
        caption=lambda wildcards: study.experiments[wildcards.table].caption,
    resources:
        mem_mb=2000,
        runtime=10,
    log:
        f"{STUDY}/logs/table/{{table}}.log",
    benchmark:
        f"{STUDY}/benchmarks/table/{{table}}.tsv"
    conda:
        ENVIRONMENT
    shell:
        "amorlip table --settings {params.settings:q} --name {wildcards.table} --evaluations {input.evaluations:q}"
        " --metrics {input.metrics:q} --manifests {input.manifests:q} --outputs {output:q} > {log:q} 2>&1"


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
            labels=lambda wildcards: {"figure": study.experiments[wildcards.figure].title},
        ),
        pdf=f"{STUDY}/figures/{{figure}}.pdf",
    params:
        settings=lambda wildcards: resolve.as_json(
            {**shown(wildcards.figure), "style": study.selection.figures.model_dump()}
        ),
        caption=lambda wildcards: study.experiments[wildcards.figure].caption,
    resources:
        mem_mb=2000,
        runtime=10,
    log:
        f"{STUDY}/logs/figure/{{figure}}.log",
    benchmark:
        f"{STUDY}/benchmarks/figure/{{figure}}.tsv"
    conda:
        ENVIRONMENT
    shell:
        "amorlip figure --settings {params.settings:q} --name {wildcards.figure} --evaluations {input.evaluations:q}"
        " --metrics {input.metrics:q} --outputs {output:q} > {log:q} 2>&1"


rule selection:
    """Write the study's top-level configuration as it is, command-line changes included, beside its results."""
    output:
        f"{STUDY}/config.yaml",
    params:
        settings=resolve.as_json(study.selection),
    log:
        f"{STUDY}/logs/selection.log",
    benchmark:
        f"{STUDY}/benchmarks/selection.tsv"
    conda:
        ENVIRONMENT
    shell:
        "amorlip selection --settings {params.settings:q} --output {output:q} > {log:q} 2>&1"


rule report:
    """Show all tables and figures with their captions in one HTML file: Snakemake's own report."""
    input:
        config=rules.selection.output,
        tables=expand(rules.table.output, table=experiments_of("table")),
        figures=expand(rules.figure.output, figure=experiments_of("figure")),
    output:
        f"{STUDY}/report.html",
    log:
        f"{STUDY}/logs/report.log",
    benchmark:
        f"{STUDY}/benchmarks/report.tsv"
    conda:
        ENVIRONMENT
    shell:
        # a second Snakemake reads the records of the first one's finished jobs, hence no lock
        "snakemake {input.tables:q} {input.figures:q} --configfile {input.config:q} --nolock --report {output:q} > {log:q} 2>&1"
