"""Predictions of a run's images with views of each image, or with a network that is adapted to them, domain by domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from domain_masks.batch import DomainBatch
from domain_masks.data import Subset, evaluation_batches
from domain_masks.errors import InputError
from domain_masks.methods import Method
from domain_masks.methods.adaptation import Tent, joined, require_adaptable, with_last_joined, with_statistics_of
from domain_masks.methods.prediction import BatchOutput, Predicted, predict_batches
from domain_masks.methods.views import output_over_views
from domain_masks.records import Predictions
from domain_masks.records.test_time import BATCH_NORM, TENT, AtTestTime
from domain_masks.sampling import keyed_permutation
from domain_masks.training.experiment import Experiment
from domain_masks.training.number_formats import autocast


def predictions_at_test_time(experiment: Experiment, test_time: AtTestTime) -> Predictions:
    """Predict the images that are measured, each split of each domain by itself, with an option of test time.

    An adaptation starts from the run's model for every domain and split, and sees its images without labels, in an order that
    is keyed by the run's seed. Raises InputError for a method or precision that cannot be adapted.
    """
    if test_time.adapt is not None:
        require_adaptable(experiment.method, test_time.adapt)
    if test_time.adapt == TENT and experiment.config.precision == "16":
        raise InputError(
            "adapt 'tent': its gradients need precision 32 or bf16, and the run has 16: use --adapt batch-norm"
        )
    parts = []
    for split, subset in experiment.measured_subsets():
        for domain in np.unique(subset.domain_indices):
            rows = np.flatnonzero(subset.domain_indices == domain)
            name = subset.dataset.domains[domain]
            if test_time.adapt is not None:
                rows = rows[keyed_permutation(len(rows), experiment.config.seed, f"test-time/{split}/{name}")]
            chosen = Subset(subset.dataset, subset.indices[rows])
            with autocast(experiment.fabric, experiment.config):
                predicted = _predicted(experiment, chosen, test_time, f"{test_time.name}, {name}")
            parts.append(experiment.as_predictions(chosen, split, predicted))
    return Predictions.concatenate(parts)


def _predicted(experiment: Experiment, subset: Subset, test_time: AtTestTime, title: str) -> Predicted:
    method, prepare = experiment.method, partial(_prepared, experiment)
    size = test_time.batch if test_time.adapt is not None else experiment.config.batch_size
    if test_time.adapt == TENT:
        tent = Tent(method, test_time.rate)

        def output(_: Method, batch: DomainBatch) -> BatchOutput:
            return tent.output(batch)

        return predict_batches(method, _batches(experiment, subset, size, title), prepare, output, with_gradients=True)
    if test_time.adapt == BATCH_NORM:
        adapted = with_statistics_of(method, map(prepare, _batches(experiment, subset, size, f"{title}: statistics")))
        return predict_batches(adapted, _batches(experiment, subset, size, title), prepare)
    views = partial(output_over_views, tta=str(test_time.tta))
    return predict_batches(method, _batches(experiment, subset, size, title), prepare, views)


def _prepared(experiment: Experiment, batch: DomainBatch) -> DomainBatch:
    """Return a batch with normalised images on the device, also for methods that are trained on features alone."""
    moved = batch.to(experiment.fabric.device)
    if moved.images is None:
        raise ValueError("expected a batch with images, got features")
    images = experiment.preprocessing.normalize(moved.images)
    if experiment.config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return replace(moved, images=images)


def _batches(experiment: Experiment, subset: Subset, size: int, title: str) -> Iterator[DomainBatch]:
    """Yield batches of images without labels, also where the run's features are frozen."""
    workers = experiment.config.workers or 0
    batches = evaluation_batches(subset, experiment.preprocessing, size, workers, with_labels=False)
    tracked = experiment.reporter.track(batches, -(-len(subset) // size), title)
    yield from with_last_joined(tracked, size, len, joined)
