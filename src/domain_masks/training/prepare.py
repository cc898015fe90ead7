"""Preparation of runs ahead of time: verified images, decoded images and frozen features in the cache."""

from __future__ import annotations

import numpy as np

from domain_masks.data import ImageDataset, Subset, load_dataset, readable, with_stored_images
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig
from domain_masks.training.conditions import set_threads
from domain_masks.training.defaults import resolve
from domain_masks.training.experiment import Experiment
from domain_masks.training.image_preparation import preprocessing_of
from domain_masks.training.launching import launch
from domain_masks.training.number_formats import resolve_formats
from domain_masks.training.process_state import fresh_process_state
from domain_masks.training.value_range import resolve_value_range


def prepare(config: RunConfig, reporter: Reporter, dataset: ImageDataset | None = None) -> int:
    """Verify the images of a dataset; with ``cache: disk`` decode them, with ``freeze_features`` compute their features.

    All runs with the same images, size and ``crop`` use the decoded images; all runs with the same images, backbone, weights,
    boundary, size, augmentation and views use the features, whatever their method, seed and held-out domain. ``dataset`` is
    an opened dataset that replaces the configured one. Returns the number of images. Raises InputError as a run would.
    """
    with fresh_process_state(reporter):
        return _prepare(config, reporter, dataset)


def _prepare(config: RunConfig, reporter: Reporter, dataset: ImageDataset | None) -> int:
    dataset = load_dataset(config.dataset, config.root) if dataset is None else dataset
    config = resolve(config.model_copy(update={"target": ()}), dataset)
    dataset = readable(dataset, config, reporter)
    config = resolve_value_range(config, dataset, reporter)
    if config.freeze_features:
        config = resolve_formats(config)
        fabric = launch(config)
        set_threads(fabric, config, ())
        experiment = Experiment(config, dataset, fabric, reporter)
        everything = Subset(dataset, np.arange(len(dataset)))
        if experiment.features is not None:
            experiment.features.of(everything, "evaluation")
            experiment.features.of(everything, "views")
    elif config.cache in ("disk", "device"):
        with_stored_images(dataset, preprocessing_of(config, dataset), "disk", config.workers or 0, reporter)
    return len(dataset)
