"""Training: an engine around any method, the loop, resuming, and whole runs."""

from domain_masks.training.experiment import Experiment
from domain_masks.training.run import Run, evaluate, run

__all__ = ["Experiment", "Run", "evaluate", "run"]
