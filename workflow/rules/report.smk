"""Report: Snakemake's own report, which shows all tables and figures."""


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
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        snakefile=workflow.main_snakefile,
    shell:
        # --nolock: this second Snakemake only reads the records of finished jobs, while the first holds the lock
        # SLURM_CONF: at its start Snakemake's Slurm plugin asks Slurm for its settings, which are of no use here
        "SLURM_CONF=/dev/null snakemake --snakefile {params.snakefile:q} {input.tables:q} {input.figures:q} --configfile {input.config:q}"
        " --nolock --report {output:q} > {log:q} 2>&1"
