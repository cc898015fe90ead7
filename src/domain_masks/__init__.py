"""Domain generalization with domain-specific masks."""
