"""From a trained model to one file that runs without this package: folding, pruning, writing, comparing."""
