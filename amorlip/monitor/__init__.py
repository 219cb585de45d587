"""What a study will need and where it is: `amorlip plan` and `amorlip status`. They read files and ask Slurm."""
