"""Loaders of image batches, read in worker processes, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from domain_masks.batch import DomainBatch, HostRows
from domain_masks.data.augmentation import Augmentation, augmentation_named
from domain_masks.data.auto_augmentation import policy_keys
from domain_masks.data.cropping import crop_numbers
from domain_masks.data.dataset import Int64Array, Subset
from domain_masks.data.image_reading import FloatArray, ImageReader, RowLists, image_batches, require_images
from domain_masks.data.preprocessing import Preprocessing
from domain_masks.data.splits import source_positions
from domain_masks.errors import InputError, unknown
from domain_masks.randomness import BatchRandomness
from domain_masks.sampling import SAMPLING


@dataclass(frozen=True)
class LoaderSettings:
    """Settings of a training loader's batches.

    - ``batch_size``: rows of a global batch, over all processes
    - ``sampling``: a name in SAMPLING
    - ``seed``: the run's seed
    - ``workers``: worker processes that read images; 0 reads in this process
    - ``rank``, ``world_size``: index of this training process, and their number
    - ``rows_per_domain``: least number of rows of every source in each process's part of a batch

    Raises InputError if a value is out of range or ``sampling`` is unknown.
    """

    batch_size: int
    sampling: str = "pooled"
    seed: int = 0
    workers: int = 0
    rank: int = 0
    world_size: int = 1
    rows_per_domain: int = 0

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise unknown("sampling", self.sampling, SAMPLING)
        if self.batch_size < self.world_size:
            raise InputError(
                f"expected a batch size of at least the {self.world_size} processes, got {self.batch_size}"
            )
        if self.workers < 0:
            raise InputError(f"expected 0 workers or more, got {self.workers}")
        if not 0 <= self.rank < self.world_size:
            raise InputError(f"expected a rank from 0 to {self.world_size - 1}, got {self.rank}")


class BatchPlan:
    """The rows of each batch of an epoch, with labels, domains and random numbers, but without images.

    Each process gets a contiguous part of every global batch. Neither the number of workers nor that of processes changes a
    global batch. With pooled sampling a last batch of a single row, or of fewer rows than processes, is dropped; the
    dropped rows change from epoch to epoch.

    Raises InputError if there are no training images, or images of other domains than ``sources``; :meth:`batches` if
    one has too few rows of a source.
    """

    def __init__(self, subset: Subset, sources: Sequence[str], settings: LoaderSettings) -> None:
        if len(subset) == 0:
            raise InputError("expected at least one training image, got none")
        self.subset = subset
        self.settings = settings
        self._sources = tuple(sources)
        self._domains = source_positions(subset.dataset, sources, subset.domain_indices)
        self._present = np.unique(self._domains)
        self._labels = subset.labels
        self._count = math.ceil(len(subset) / settings.batch_size)
        last = len(subset) - (self._count - 1) * settings.batch_size
        if settings.sampling == "pooled" and last < min(settings.batch_size, max(2, settings.world_size)):
            # The remainder is dropped: batch norm needs more than one row, and every process at least one.
            self._count = max(1, self._count - 1)

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._count

    def batches(self, epoch: int, start: int = 0) -> list[tuple[Int64Array, DomainBatch]]:
        """Yield positions in the subset and the batch without images, of ``epoch`` from batch ``start`` on."""
        chosen = self.settings
        everything = SAMPLING[chosen.sampling](self._domains, chosen.batch_size, chosen.seed, epoch)
        if len(everything) != (whole := math.ceil(len(self.subset) / chosen.batch_size)):
            raise InputError(
                f"sampling {chosen.sampling!r} gave {len(everything)} batches of epoch {epoch + 1}: expected {whole}, the "
                "training images divided by the batch and rounded up"
            )
        planned = []
        for index, rows in enumerate(everything[start : self._count], start):
            first = len(rows) * chosen.rank // chosen.world_size
            last = len(rows) * (chosen.rank + 1) // chosen.world_size
            positions = rows[first:last]
            self._require_rows(rows, f"batch {index + 1} of epoch {epoch + 1}")
            random = BatchRandomness(chosen.seed, epoch * len(self) + index, first, last - first, len(rows))
            batch = DomainBatch(
                images=None,
                labels=torch.from_numpy(self._labels[positions]),
                domains=torch.from_numpy(self._domains[positions]),
                ids=torch.from_numpy(self.subset.indices[positions]),
                random=random,
                host=HostRows(torch.from_numpy(self._labels[rows]), torch.from_numpy(self._domains[rows])),
            )
            planned.append((positions, batch))
        return planned

    def _require_rows(self, rows: Int64Array, place: str) -> None:
        """Check the parts of all processes, so that all processes raise; only sources with training images count."""
        least, parts = self.settings.rows_per_domain, self.settings.world_size
        for part in range(parts) if least else ():
            positions = rows[len(rows) * part // parts : len(rows) * (part + 1) // parts]
            counts = np.bincount(self._domains[positions], minlength=len(self._sources))[self._present]
            if counts.min() < least:
                source = self._sources[self._present[counts.argmin()]]
                raise InputError(
                    f"sampling {self.settings.sampling!r} gave {counts.min()} images of source {source!r} in "
                    f"{place}{f', for process {part + 1} of {parts}' if parts > 1 else ''}: expected {least} of every source, "
                    "which the method needs. Use balanced, or a larger --batch"
                )


class PlannedBatches(ABC):
    """An iterable over the batches of one epoch, chosen by :meth:`set_epoch`, from 0, as a plan has them.

    Iterating raises InputError as :meth:`BatchPlan.batches` does.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0, of the next pass, from its first batch on."""
        self.epoch = epoch
        self.start = 0

    def set_start(self, batch_index: int) -> None:
        """Start the next pass of this epoch at ``batch_index``; earlier batches are not read.

        Raises InputError if the epoch has no such batch; its length is allowed and gives an empty pass.
        """
        if not 0 <= batch_index <= len(self):
            raise InputError(f"expected a batch from 0 to {len(self)}, got {batch_index}")
        self.start = batch_index

    def __len__(self) -> int:
        """Batches of a whole epoch, independent of the start of the next pass."""
        return len(self.plan)

    @abstractmethod
    def __iter__(self) -> Iterator[DomainBatch]:
        """Yield the batches of the epoch from ``start`` on, with their images."""


class TrainingLoader(PlannedBatches):
    """An iterable over the batches of one epoch, chosen by :meth:`set_epoch`, from 0.

    Batches hold the crops of ``augmentation``, changed by its policy, uint8 (n, 3, size, size) on the CPU; labels; domains as
    positions in ``sources``; rows of the dataset as ids; and the batch's random numbers, whose step counts the batches
    since the start of the run. See :class:`BatchPlan` for each process's part.

    Raises InputError as :class:`BatchPlan` does; while iterating, if an image cannot be read.
    """

    def __init__(
        self,
        subset: Subset,
        sources: Sequence[str],
        preprocessing: Preprocessing,
        settings: LoaderSettings,
        augmentation: str | Augmentation = "none",
    ) -> None:
        super().__init__(BatchPlan(subset, sources, settings))
        self._rows = RowLists()
        chosen = augmentation_named(augmentation)
        self._crop, self._policy = chosen.crop(preprocessing), chosen.image_policy
        reader = ImageReader(subset, preprocessing, self._crop, self._policy)
        self._images = image_batches(reader, self._rows, settings.workers, keep_workers=True)

    def __iter__(self) -> Iterator[DomainBatch]:
        planned = [batch for _, batch in self.plan.batches(self.epoch, self.start)]
        self._rows.lists = [(batch.ids.numpy(), self._numbers(batch), self._keys(batch)) for batch in planned]
        for batch, images in zip(planned, self._images, strict=True):
            yield replace(batch, images=require_images(images).squeeze(1))

    def _numbers(self, batch: DomainBatch) -> FloatArray | None:
        if self._crop is None or batch.random is None:
            return None
        return crop_numbers(self._crop, batch.random).unsqueeze(1).numpy()

    def _keys(self, batch: DomainBatch) -> Int64Array | None:
        if self._policy is None or batch.random is None:
            return None
        keys: Int64Array = policy_keys(batch.random).unsqueeze(1).numpy()
        return keys


def evaluation_batches(
    subset: Subset,
    preprocessing: Preprocessing,
    batch_size: int,
    workers: int = 0,
    sources: Sequence[str] | None = None,
    with_labels: bool = True,
) -> Iterator[DomainBatch]:
    """Yield the images of ``subset`` in its order, uint8 (n, 3, size, size) on the CPU.

    ``domains`` are positions in ``sources``, or None where no sources are given, as for held-out images; ``labels`` are
    None with ``with_labels`` false, and then not read. Raises InputError if an image cannot be read, or is of none of
    the ``sources``.
    """
    if batch_size < 1:
        raise InputError(f"expected a batch size of 1 or more, got {batch_size}")
    domains = None if sources is None else source_positions(subset.dataset, sources, subset.domain_indices)
    labels = subset.labels if with_labels else None
    parts = [slice(start, start + batch_size) for start in range(0, len(subset), batch_size)]
    rows = RowLists([(subset.indices[part], None, None) for part in parts])
    reader = ImageReader(subset, preprocessing, None)
    for part, images in zip(parts, image_batches(reader, rows, workers, keep_workers=False), strict=True):
        yield DomainBatch(
            images=require_images(images).squeeze(1),
            labels=None if labels is None else torch.from_numpy(labels[part]),
            domains=None if domains is None else torch.from_numpy(domains[part]),
            ids=torch.from_numpy(subset.indices[part]),
        )


def view_batches(
    subset: Subset,
    preprocessing: Preprocessing,
    augmentation: str | Augmentation,
    views: int,
    reading: tuple[int, int],
) -> Iterator[tuple[Tensor, list[BatchRandomness]]]:
    """Yield several random crops of every image of ``subset``, changed by the policy, in its order, each image decoded once.

    ``reading``: the batch size and the number of workers. Every item is uint8 (n, V, 3, size, size) on the CPU, with
    the random numbers of each of the V views: keyed by the view and the batch alone. Raises
    InputError if an image cannot be read.
    """
    batch_size, workers = reading
    chosen = augmentation_named(augmentation)
    crop, policy = chosen.crop(preprocessing), chosen.image_policy
    parts = [subset.indices[start : start + batch_size] for start in range(0, len(subset), batch_size)]
    randoms = [
        [BatchRandomness(view, index, 0, len(rows), len(rows)) for view in range(views)]
        for index, rows in enumerate(parts)
    ]
    drawn = [
        None if crop is None else torch.stack([crop_numbers(crop, random) for random in row], 1).numpy()
        for row in randoms
    ]
    keys = [
        None if policy is None else torch.stack([policy_keys(random) for random in row], 1).numpy() for row in randoms
    ]
    rows = RowLists(list(zip(parts, drawn, keys, strict=True)))
    reader = ImageReader(subset, preprocessing, crop, policy)
    for random, images in zip(randoms, image_batches(reader, rows, workers, keep_workers=False), strict=True):
        yield require_images(images).expand(-1, views, -1, -1, -1), random
