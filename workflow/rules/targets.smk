"""Targets by name: `snakemake tables`, `snakemake figures`, and each table and figure, as `snakemake table1`."""


rule tables:
    """Every table of the study."""
    input:
        expand(rules.table.output, table=experiments_of("table")),


rule figures:
    """Every figure of the study."""
    input:
        expand(rules.figure.output, figure=experiments_of("figure")),


try:
    studies.refuse_names(study, {rule.name for rule in workflow.rules})
except AmorlipError as error:
    raise WorkflowError(str(error)) from None

for experiment in study.experiments:

    rule:
        name:
            experiment
        input:
            files_of(experiment),
