"""Batches of frozen features, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.data import (
    BatchPlan,
    LoaderSettings,
    Subset,
)
from domain_masks.training.frozen_features import FrozenFeatures


class FrozenLoader:
    """Training batches of features: in every epoch each image is one of its augmented views.

    The order is that of the loader of images; the view is keyed by (seed, step) and the row in the batch.
    """

    def __init__(
        self, features: FrozenFeatures, subset: Subset, sources: Sequence[str], settings: LoaderSettings
    ) -> None:
        self.plan = BatchPlan(subset, sources, settings)
        self._features = features.of(subset, "views")
        self._views = features.recipe.views
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, and start it at its first batch."""
        self.epoch = epoch
        self.start = 0

    def set_start(self, batch_index: int) -> None:
        """Start the next pass of this epoch at ``batch_index``."""
        self.start = batch_index

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[DomainBatch]:
        for positions, batch in self.plan.batches(self.epoch, self.start):
            if batch.random is None:
                raise ValueError("expected training batches with random numbers of their own")
            view = (batch.random.uniform("view") * self._views).long().clamp(max=self._views - 1).numpy()
            yield replace(batch, features=self._features.take(positions, view))


def frozen_batches(
    features: FrozenFeatures,
    subset: Subset,
    batch_size: int,
    domains: Callable[[Subset], Tensor] | None,
    with_labels: bool,
) -> Iterator[DomainBatch]:
    """Yield the features of ``subset`` under evaluation transforms, in its order.

    ``domains`` gives positions among the sources, or is None where the domain is unknown; with ``with_labels`` false no label
    is read.
    """
    if len(subset) == 0:
        return
    values = features.of(subset, "evaluation")
    positions = None if domains is None else domains(subset)
    labels = torch.from_numpy(subset.labels) if with_labels else None
    ids = torch.from_numpy(subset.indices)
    for start in range(0, len(subset), batch_size):
        part = slice(start, start + batch_size)
        yield DomainBatch(
            images=None,
            labels=None if labels is None else labels[part],
            domains=None if positions is None else positions[part],
            ids=ids[part],
            features=values.take(np.arange(len(subset))[part]),
        )
