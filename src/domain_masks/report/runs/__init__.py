"""The runs that a report is about: grouped, their accuracies and correctness, and the paper's numbers and protocol."""
