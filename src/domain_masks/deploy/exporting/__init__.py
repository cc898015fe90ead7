"""Export of a trained model to a file that runs without this package: folding, pruning, writing, parity check."""
