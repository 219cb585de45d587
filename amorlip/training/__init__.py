"""Training of one run: the loop, one step, the optimizer, checkpoints and the log."""
