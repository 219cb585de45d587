"""Zero-shot evaluation: `score.evaluate` scores one model on one task's files."""
