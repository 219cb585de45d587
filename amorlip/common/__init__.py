"""What knows nothing of CLIP: errors, files, tars, digests, processes, matrix multiplication."""
