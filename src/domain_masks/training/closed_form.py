"""Methods without gradients: fitted at once, and kept in the same checkpoints as those that are trained."""

from __future__ import annotations

import time

from domain_masks.records import RunFolder
from domain_masks.training.experiment import Experiment
from domain_masks.training.progress import Progress
from domain_masks.training.state import Restored, RunState


def fit_at_once(experiment: Experiment, folder: RunFolder, restored: Restored | None) -> Progress:
    """Fit the method from the features of all training images, and leave ``last.ckpt`` and ``best.ckpt`` in the run folder.

    A run that goes on from these is fitted already. Raises DivergedError where something that was learned is not finite,
    RunFolderError where a checkpoint cannot be written.
    """
    if restored is not None and restored.progress.is_fitted:
        return restored.progress
    began = time.monotonic()
    experiment.fit_closed_form()
    progress = Progress(is_fitted=True, seconds=time.monotonic() - began)
    state = RunState(experiment.method, experiment.fabric, experiment.config, folder, experiment.facts)
    state.save(progress, best=True)
    return progress
