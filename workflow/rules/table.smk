"""Table: one table in four formats."""


rule table:
    """Write one table as csv, Markdown, LaTeX and HTML."""
    input:
        evaluations=lambda wildcards: records_of(wildcards.table, external=True),
        metrics=lambda wildcards: metrics_of(wildcards.table),
        manifests=lambda wildcards: manifests_of(wildcards.table),
        provenance=lambda wildcards: provenance_of(wildcards.table),
        costs=lambda wildcards: cost_file_of(wildcards.table),
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
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=table_settings_file,
        # For the report. A param made of outputs reruns nothing; the settings have the caption, too.
        caption=lambda wildcards, output: report_text.caption(study.experiments[wildcards.table].caption),
    shell:
        "amorlip table --settings {params.settings:q} --name {wildcards.table} --outputs {output:q} > {log:q} 2>&1"
