"""How many training images a core decodes and augments per second, against torchvision's transforms image by image.

Both read the same JPEG files and give batches of normalised tensors: a random crop, resized, a flip and colour jitter. Seconds
are CPU seconds of one thread: what a core has to do for an image, however many cores and workers there are. Files come from
the operating system's cache: the warm-up has read them once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from domain_masks.data import (
    BatchAugmentation,
    LoaderSettings,
    Preprocessing,
    TrainingLoader,
    augmentation_named,
    default_preprocessing,
)
from loading import Images, generated, pacs
from timing import Conditions, Measurement, interleave

SIZES = (224, 112)
FAST_SIZES = (32,)
BATCH = 64
FAST_BATCH = 8


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield images per CPU second, decoded and augmented, and augmented alone, against torchvision's; and with a policy."""
    sizes, batch = (FAST_SIZES, FAST_BATCH) if conditions.fast else (SIZES, BATCH)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            images = pacs(conditions.root, batch) if conditions.root else generated(Path(folder), batch)
            for size in sizes:
                yield from _compare(images, size, batch, conditions)
    finally:
        torch.set_num_threads(threads)


def _compare(images: Images, size: int, batch: int, conditions: Conditions) -> Iterator[Measurement]:
    preprocessing = default_preprocessing(images.subset.dataset, size)
    loader = TrainingLoader(images.subset, images.sources, preprocessing, LoaderSettings(batch), "pacs")
    augment = BatchAugmentation("pacs", preprocessing)
    changed = augmentation_named("pacs", "randaugment", erasing=0.25)
    changing = TrainingLoader(images.subset, images.sources, preprocessing, LoaderSettings(batch), changed)
    erase = BatchAugmentation(changed, preprocessing)
    (example,) = loader
    crops = [to_pil_image(crop) for crop in example.images]
    crop, colours = _torchvision(preprocessing)

    def ours() -> None:
        for one in loader:
            augment(one.images, one.random)

    def with_policy() -> None:
        for one in changing:
            erase(one.images, one.random)

    def theirs() -> Tensor:
        opened = map(images.subset.dataset.open_image, images.subset.indices.tolist())
        return default_collate([colours(crop(image.convert("RGB"))) for image in opened])

    calls: dict[str, Callable[[], object]] = {
        "files": ours,
        "torchvision, files": theirs,
        "files, policy": with_policy,
        "crops": lambda: augment(example.images, example.random),
        "torchvision, crops": lambda: default_collate(list(map(colours, crops))),
    }
    seconds = interleave(calls, conditions.budget.share(2), torch.device("cpu"), time.process_time)
    speeds = {name: [batch / taken for taken in times] for name, times in seconds.items()}
    for name, title in (("files", "decoded, cropped and augmented"), ("crops", "augmented")):
        mine, other = speeds[name], speeds[f"torchvision, {name}"]
        yield Measurement(
            f"training images {title} per CPU second ({images.name}, {size} px)",
            "torchvision's transforms per image",
            [speed / against for speed, against in zip(mine, other, strict=True)],
            f"{np.median(mine):.4g} against {np.median(other):.4g} images/s",
        )

    yield Measurement(
        f"training images with RandAugment and erasing per CPU second ({images.name}, {size} px)",
        "those without",
        [speed / plain for speed, plain in zip(speeds["files, policy"], speeds["files"], strict=True)],
        f"{np.median(speeds['files, policy']):.4g} against {np.median(speeds['files']):.4g} images/s",
    )


def _torchvision(preprocessing: Preprocessing) -> tuple[Callable[[Image.Image], Image.Image], Callable[..., Tensor]]:
    """Return the crop and the rest of the transforms, as DomainBed's and the authors' code have them."""
    rest = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.4, 0.4, 0.4, 0.4),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    return transforms.RandomResizedCrop(preprocessing.size, scale=(0.8, 1.0)), rest
