"""Fitting of closed-form methods, which are saved in the same checkpoints as trained ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from domain_masks.batch import DomainBatch
from domain_masks.data import Subset
from domain_masks.errors import InputError
from domain_masks.methods import Method
from domain_masks.methods.extra_state import tensors_in
from domain_masks.methods.tensor_files import TensorForm, odd_forms
from domain_masks.randomness import seeded
from domain_masks.records import RunFolder
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.experiment import FAST_IMAGES, Experiment
from domain_masks.training.run_progress import Progress
from domain_masks.training.state import RunState


def fit_closed_form(experiment: Experiment, folder: RunFolder, checkpoint: CheckpointState | None) -> Progress:
    """Fit the method from the features of all training images, and leave ``last.ckpt`` and ``best.ckpt`` in the run folder.

    A run that is resumed from these is fitted already. Raises InputError where fitting changed the shapes of the method's
    state, so that no file of the run could be loaded, DivergedError where a value is not finite, RunFolderError where a
    checkpoint cannot be written.
    """
    if checkpoint is not None and checkpoint.progress.is_fitted:
        return checkpoint.progress
    began, method = time.monotonic(), experiment.method.eval()
    forms = _forms(method)
    features = _features(experiment)
    with torch.no_grad(), seeded(experiment.config.seed, "closed form", device=experiment.fabric.device):
        method.fit_closed_form(features)
    after = _forms(method)
    if odd := odd_forms(forms, after):
        first = f"{odd[0]}: expected {forms.get(odd[0], 'none')}, got {after.get(odd[0], 'none')}"
        raise InputError(
            f"method {method.name!r} has other tensors after it was fitted ({', '.join(odd[:3])}; {first}): expected its "
            "constructor to register every buffer with its final shape, and an axis whose length the data decide with length 0"
        )
    progress = Progress(is_fitted=True, seconds=time.monotonic() - began)
    state = RunState(method, experiment.fabric, experiment.config, folder, experiment.provenance)
    state.save(progress, best=True)
    return progress


def _features(experiment: Experiment) -> DomainBatch:
    """Return the features of the training images under evaluation transforms; in a smoke run of a few of every class."""
    train = experiment.learned_from()
    if experiment.config.fast:
        train = _some_of_every_class(train)
    batches = experiment.reporter.track(
        experiment.batches(train, experiment.splits.sources),
        -(-len(train) // experiment.rows_at_once),
        "features to fit",
    )
    parts = []
    with torch.no_grad(), experiment.fabric.autocast():
        for batch in map(experiment.prepare, batches):
            parts.append(replace(batch, images=None, features=experiment.method.boundary_features(batch).float()))
    return _joined(parts)


def _joined(parts: Sequence[DomainBatch]) -> DomainBatch:
    return DomainBatch(
        images=None,
        labels=torch.cat([part.labels for part in parts if part.labels is not None]),
        domains=torch.cat([part.domains for part in parts if part.domains is not None]),
        ids=torch.cat([part.ids for part in parts]),
        features=torch.cat([part.features for part in parts if part.features is not None]),
    )


def _some_of_every_class(subset: Subset) -> Subset:
    """Return a few images of every class: about :data:`FAST_IMAGES` in all, two of each at least, of all domains in turn."""
    labels, classes = subset.labels, np.unique(subset.labels)
    each = max(2, FAST_IMAGES // len(classes))
    chosen = [np.flatnonzero(labels == label) for label in classes]
    rows = [
        of_class[np.linspace(0, len(of_class) - 1, min(each, len(of_class))).astype(np.int64)] for of_class in chosen
    ]
    return Subset(subset.dataset, np.sort(subset.indices[np.concatenate(rows)]))


def _forms(method: Method) -> dict[str, TensorForm]:
    return {name: TensorForm.of(value) for name, value in tensors_in(method.state_dict()).items()}
