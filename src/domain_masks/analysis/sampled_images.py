"""A sample of the images of a run, and their rows in its dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from domain_masks.data import ImageDataset
from domain_masks.errors import InputError
from domain_masks.randomness import generator
from domain_masks.records import Predictions

_STREAM = "analysis/pictures"
"""Kept from earlier versions, so that repeating an analysis takes the same samples."""


def sample(parts: Mapping[str, Predictions], count: int | None, seed: int = 0) -> Predictions:
    """Return about ``count`` of the samples, equally many of each domain, stratified by class.

    The choice is keyed by (seed, domain) and the same for every run on a dataset. None takes all. A domain with too few
    samples contributes all of them, and the others make up the difference. Samples keep their order within a domain.
    """
    if count is None or count >= sum(map(len, parts.values())):
        return Predictions.concatenate(list(parts.values()))
    remaining, chosen = count, {}
    smallest_first = sorted(parts, key=lambda domain: len(parts[domain]))
    for position, domain in enumerate(smallest_first):
        share = min(len(parts[domain]), round(remaining / (len(parts) - position)))
        order = generator(seed, f"{_STREAM}/{domain}")
        chosen[domain] = parts[domain].rows(_stratified(parts[domain].labels, share, order))
        remaining -= share
    return Predictions.concatenate([chosen[domain] for domain in parts])


def _stratified(labels: NDArray[np.int64], count: int, order: torch.Generator) -> NDArray[np.intp]:
    """Return the sorted positions of ``count`` samples, stratified by class."""
    shuffled = torch.randperm(len(labels), generator=order).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Evenly spaced over the samples sorted by class: each class gets its share, to within one sample.
    places = ((np.arange(count) + 0.5) * len(labels) / max(1, count)).astype(np.intp)
    return np.sort(by_class[places])


def rows_of(dataset: ImageDataset, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of every id in ``dataset``, (N,); -1 if it is missing."""
    row_of = {name: row for row, name in enumerate(dataset.ids)}
    return np.array([row_of.get(str(name), -1) for name in ids], dtype=np.int64)


def in_dataset(chosen: Predictions, dataset: ImageDataset) -> tuple[Predictions, int]:
    """Return the samples whose images are in ``dataset``, and how many are not; raises InputError if none is."""
    there = rows_of(dataset, chosen.ids.tolist()) >= 0
    if not there.any():
        raise InputError(f"none of the run's images is in dataset {dataset.name!r}: give the right one with --dataset")
    return chosen.rows(there), int((~there).sum())
