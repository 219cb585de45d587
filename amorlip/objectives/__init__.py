"""Training objectives: features in, loss and gradients out. One module per method, listed in `config/objectives.py`."""
