"""Speed and memory of single parts, measured beside a reference in the same run."""
