"""Figure: one figure as png and pdf."""


rule figure:
    """Draw one figure as png and pdf."""
    input:
        evaluations=lambda wildcards: records_of(wildcards.figure),
        metrics=lambda wildcards: metrics_of(wildcards.figure),
        provenance=lambda wildcards: provenance_of(wildcards.figure),
        published=lambda wildcards: paper_file(wildcards.figure, "published"),
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
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=figure_settings_file,
        # For the report. A param made of outputs reruns nothing; the settings have the caption, too.
        caption=lambda wildcards, output: report_text.caption(study.experiments[wildcards.figure].caption),
    shell:
        "amorlip figure --settings {params.settings:q} --name {wildcards.figure} --outputs {output:q} > {log:q} 2>&1"
