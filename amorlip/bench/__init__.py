"""Speed and memory of single parts, compared with a reference that is measured in the same run."""
