"""Training: an engine around any method, the loop, resuming, and whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.training.callbacks import Callback, EpochEnd, TrainStart
    from domain_masks.training.evaluating import evaluate
    from domain_masks.training.experiment import Experiment
    from domain_masks.training.finished_run import Run, computed_later
    from domain_masks.training.run import run

__all__ = ["Callback", "EpochEnd", "Experiment", "Run", "TrainStart", "computed_later", "evaluate", "run"]

attach(__name__)
