"""All images of a dataset on one device, where batches are cropped: an epoch copies no image to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.data.augmentation import Augmentation, augmentation_named
from domain_masks.data.auto_augmentation import policy_keys
from domain_masks.data.cropping import Box, RandomCrop, crop_numbers
from domain_masks.data.dataset import ImageDataset, Int64Array, Subset
from domain_masks.data.device_resizing import crop_plan, resized_crops
from domain_masks.data.image_cache import in_binary_units
from domain_masks.data.loading import BatchPlan, LoaderSettings, PlannedBatches, evaluation_batches
from domain_masks.data.preprocessing import Preprocessing
from domain_masks.data.resizing import resized_crop
from domain_masks.data.splits import source_positions
from domain_masks.data.stored_images import CHANNELS, StoredImages, StoredOpener
from domain_masks.errors import InputError
from domain_masks.progress import Reporter

_BATCH = 256
_WORTH_WORKERS = 50_000
_ONE_BY_ONE = ("cpu",)
"""Kinds of devices on which images are cropped one by one; on the others a few large operations are faster."""


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """The images of a dataset on a device.

    - ``pixels``: uint8, all bytes of ``stored``; ``rows``: (N,) the row there of each image of the dataset
    - ``seen``: uint8 (N, 3, size, size), the images as evaluation sees them
    """

    preprocessing: Preprocessing
    stored: StoredImages
    rows: Int64Array
    pixels: Tensor
    seen: Tensor

    def cropper(self, rows: Int64Array, numbers: Tensor, crop: RandomCrop) -> Callable[[slice], Tensor]:
        """Return a function that cuts some of the crops of images (n,) that ``numbers`` (n, count) choose.

        It gives uint8 (n, 3, size, size) on the device; what it needs is sent there now, for all of them.
        """
        prepared, stored = self.preprocessing, self.rows[rows]
        starts, (widths, heights) = self.stored.offsets[stored, 0], self.stored.sizes[stored, 0].T
        boxes: list[Box] = []
        for width, height, own in zip(widths.tolist(), heights.tolist(), numbers.tolist(), strict=True):
            boxes += prepared.crop_boxes(width, height, partial(_one_box, crop, own))
        if self.pixels.device.type not in _ONE_BY_ONE:
            plan = crop_plan(starts, widths, np.array(boxes), prepared.size, prepared.interpolation)
            plan = plan.to(self.pixels.device)
            return lambda part: resized_crops(self.pixels, plan.rows(part))

        def cut(index: int) -> Tensor:
            start, width, height = int(starts[index]), int(widths[index]), int(heights[index])
            image = self.pixels[start : start + CHANNELS * width * height].view(height, width, CHANNELS)
            return resized_crop(image.permute(2, 0, 1), boxes[index], prepared.size, prepared.interpolation)

        return lambda part: torch.stack([cut(index) for index in range(len(boxes))[part]])


def images_on_device(
    dataset: ImageDataset, preprocessing: Preprocessing, device: torch.device, workers: int, reporter: Reporter
) -> DeviceImages | None:
    """Return the images of a dataset on ``device``; None unless it has them from the image cache on disk.

    Raises InputError where they are larger than the device's free memory.
    """
    if not isinstance(dataset.open_image, StoredOpener):
        return None
    stored, rows = dataset.open_image.stored, dataset.open_image.rows
    shape = (len(dataset), 3, preprocessing.size, preprocessing.size)
    needed = stored.bytes + int(np.prod(shape))
    if device.type == "cuda" and needed > (free := torch.cuda.mem_get_info(device)[0]):
        raise InputError(
            f"the images of {dataset.name!r} need {in_binary_units(needed)} on {device}, {in_binary_units(free)} are free: use "
            "--cache disk"
        )
    pixels = torch.from_numpy(stored.pixels).to(device, copy=True)
    seen = torch.empty(shape, dtype=torch.uint8, device=device)
    everything = Subset(dataset, np.arange(len(dataset)))
    # Decoded images are cropped sooner than workers have started, unless there are many.
    workers = workers if len(dataset) >= _WORTH_WORKERS else 0
    batches = evaluation_batches(everything, preprocessing, _BATCH, workers, with_labels=False)
    for batch in reporter.track(batches, -(-len(dataset) // _BATCH), f"images to {device}"):
        if batch.images is None:
            raise ValueError("expected images")
        start = int(batch.ids[0])
        seen[start : start + len(batch)] = batch.images.to(device)
    reporter.say(f"cache: {in_binary_units(needed)} of images on {device}")
    return DeviceImages(preprocessing, stored, rows, pixels, seen)


class DeviceLoader(PlannedBatches):
    """The batches of :class:`TrainingLoader`, made on the device: what chooses them is sent there once per epoch.

    Raises InputError as :class:`BatchPlan` does.
    """

    def __init__(
        self,
        images: DeviceImages,
        subset: Subset,
        sources: Sequence[str],
        settings: LoaderSettings,
        augmentation: str | Augmentation = "none",
    ) -> None:
        super().__init__(BatchPlan(subset, sources, settings))
        self._images = images
        chosen = augmentation_named(augmentation)
        self._crop, self._policy = chosen.crop(images.preprocessing), chosen.image_policy

    def __iter__(self) -> Iterator[DomainBatch]:
        images, crop = self._images, self._crop
        planned = [batch for _, batch in self.plan.batches(self.epoch, self.start)]
        if not planned:
            return
        whole = _joined(planned).to(images.pixels.device)
        cut = None
        if crop is not None:
            numbers = torch.cat([crop_numbers(crop, batch.random) for batch in planned if batch.random is not None])
            cut = images.cropper(np.concatenate([batch.ids.numpy() for batch in planned]), numbers, crop)
        start = 0
        for batch in planned:
            part = slice(start, start + len(batch))
            own = _part(whole, part)
            seen = images.seen[own.ids] if cut is None else cut(part)
            if self._policy is not None and batch.random is not None:
                keys = policy_keys(batch.random).tolist()
                seen = torch.stack([self._policy(image, key) for image, key in zip(seen, keys, strict=True)])
            yield replace(own, images=seen, random=batch.random, host=batch.host)
            start = part.stop


def device_batches(
    images: DeviceImages,
    subset: Subset,
    batch_size: int,
    sources: Sequence[str] | None = None,
    with_labels: bool = True,
) -> Iterator[DomainBatch]:
    """Yield the batches of :func:`evaluation_batches`, on the device; raises InputError as that does."""
    domains = None if sources is None else source_positions(subset.dataset, sources, subset.domain_indices)
    whole = DomainBatch(
        images=None,
        labels=torch.from_numpy(subset.labels) if with_labels else None,
        domains=None if domains is None else torch.from_numpy(domains),
        ids=torch.from_numpy(subset.indices),
    ).to(images.pixels.device)
    for start in range(0, len(subset), batch_size):
        own = _part(whole, slice(start, start + batch_size))
        yield replace(own, images=images.seen[own.ids])


def _joined(batches: Sequence[DomainBatch]) -> DomainBatch:
    """Return training batches as one, without images and random numbers."""

    def column(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])

    return DomainBatch(None, column("labels"), column("domains"), column("ids"))


def _part(batch: DomainBatch, part: slice) -> DomainBatch:
    labels, domains = (None if column is None else column[part] for column in (batch.labels, batch.domains))
    return DomainBatch(None, labels, domains, batch.ids[part])


def _one_box(crop: RandomCrop, numbers: Sequence[float], width: int, height: int) -> list[Box]:
    return [crop.box(numbers, width, height)]
