"""Training of one run: the loop, one step, the optimiser, checkpoints and the log."""
