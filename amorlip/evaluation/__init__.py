"""Zero-shot evaluation: `suite.evaluate` scores one model on one task's files."""
