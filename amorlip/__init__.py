"""AmorLIP: efficient language-image pretraining via amortization, reproduced from data to tables."""

__version__ = "0.1.0"
