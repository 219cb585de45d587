"""Training objectives: features in, loss and gradients out. One module a method, listed in `registry`."""
