"""Fit the domain classifier that weighs a method's predictions, once training is over."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from domain_masks.data import Subset
from domain_masks.methods.domain_classifier import fit_domain_classifier
from domain_masks.randomness import generator
from domain_masks.records.results import ClassifierAccuracy
from domain_masks.training.experiment import FAST_IMAGES, Experiment

MOST_IMAGES = 10_000


def add_domain_classifier(experiment: Experiment) -> ClassifierAccuracy | None:
    """Fit a domain classifier on the sources' training images, and add it to the method.

    It is fitted on at most :data:`MOST_IMAGES` images under evaluation transforms. No image of a held-out domain is used.

    Returns its accuracy on the sources' validation images; None where the method has no prediction per source, there is one
    source, or the setting ``domain_classifier`` is off.
    """
    method, splits, config = experiment.method, experiment.splits, experiment.config
    if not config.domain_classifier or not method.predicts_by_domain or len(splits.sources) < 2:
        return None
    chosen = subsample(splits.train, FAST_IMAGES if config.fast else MOST_IMAGES, config.seed)
    features, domains = _pooled(experiment, chosen, "learning the domains")
    device = experiment.fabric.device
    classifier = fit_domain_classifier(features, domains, len(splits.sources)).to(device)
    method.use_domain_classifier(classifier)
    features, domains = _pooled(experiment, experiment.limited(splits.validation), "telling the domains")
    right = classifier(features.to(device)).argmax(-1).cpu().eq(domains).double()
    shares = [float(right[mine].mean()) for index in range(len(splits.sources)) if (mine := domains == index).any()]
    split = "a sample of validation" if config.fast else "validation"
    return ClassifierAccuracy(split=split, accuracy=sum(shares) / len(shares))


def subsample(subset: Subset, most: int, seed: int) -> Subset:
    """Return at most about ``most`` images of ``subset``: the same share of each domain, at least one, keyed by the seed."""
    if len(subset) <= most:
        return subset
    rows = []
    for name in subset.domain_names:
        mine = np.flatnonzero(subset.domain_indices == subset.dataset.domains.index(name))
        count = max(1, most * len(mine) // len(subset))
        order = torch.randperm(len(mine), generator=generator(seed, f"domain-classifier/{name}"))
        rows.append(mine[order[:count].numpy()])
    return Subset(subset.dataset, subset.indices[np.sort(np.concatenate(rows))])


def _pooled(experiment: Experiment, subset: Subset, title: str) -> tuple[Tensor, Tensor]:
    """Return the channel means (N, K) of a subset's features in evaluation mode, and its domains (N,), on the CPU."""
    method = experiment.method
    batches = experiment.batches(subset, experiment.splits.sources, with_labels=False)
    features, domains = [], []
    training = method.training
    method.eval()
    try:
        with torch.inference_mode(), experiment.fabric.autocast():
            for raw in experiment.reporter.track(batches, -(-len(subset) // experiment.rows_at_once), title):
                batch = experiment.prepare(raw)
                if batch.domains is None:
                    raise ValueError("expected the domain of every image of a source, got None")
                features.append(method.network.pooled(method.boundary_features(batch)).float().cpu())
                domains.append(batch.domains.cpu())
    finally:
        method.train(training)
    return torch.cat(features), torch.cat(domains)
