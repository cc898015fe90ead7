"""The speed of training from files, relative to training on the same images as tensors in memory.

Both make the same passes: the same batches, augmentation and steps of DMG, on one network. They are interleaved pass
by pass and not step by step, as workers would read ahead during the other's steps; waiting for the first batch of a pass
counts. Files come from the operating system's cache, as the warm-up has read them once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from domain_masks.batch import DomainBatch
from domain_masks.data import (
    BatchAugmentation,
    DeviceLoader,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    default_preprocessing,
    evaluation_batches,
    images_on_device,
    load_folder,
    load_pacs,
    split_domains,
    with_stored_images,
    without_rows,
)
from domain_masks.data.preprocessing import Decoding
from domain_masks.progress import ConsoleReporter
from domain_masks.records.cache import CACHE_VARIABLE
from steps import SOURCES, MethodStep, Workload, build
from timing import Budget, Conditions, Measurement, interleave

WORKLOADS = (Workload("mobilenet_v2", 112, 32), Workload("small", 64, 64))
FAST_WORKLOADS = (Workload("small", 32, 8),)
BATCHES = 4
FAST_BATCHES = 2
WORKERS = (0, 2)
PACS_SIDE = 227


@dataclass(frozen=True)
class Images:
    """Training images of several sources, and their name in the output."""

    subset: Subset
    sources: tuple[str, ...]
    name: str


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield images per second from files and from the image cache, against tensors in memory."""
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    for workload in workloads:
        count = workload.batch * (FAST_BATCHES if conditions.fast else BATCHES)
        with tempfile.TemporaryDirectory() as folder:
            images = pacs(conditions.root, count) if conditions.root else generated(Path(folder) / "images", count)
            budget = conditions.budget.share(len(workloads))
            yield from _compare(workload, images, Path(folder) / "cache", budget, conditions.device)


def pacs(root: str, count: int) -> Images:
    """Return ``count`` training images of PACS without sketches, spread evenly over domains and classes."""
    splits = split_domains(load_pacs(root), ("sketch",))
    chosen = np.linspace(0, len(splits.train) - 1, count).round().astype(np.int64)
    others = np.setdiff1d(np.arange(len(splits.dataset)), splits.train.indices[chosen])
    dataset = without_rows(splits.dataset, others.tolist())
    return Images(Subset(dataset, range(count)), splits.sources, "PACS")


def generated(folder: Path, count: int) -> Images:
    """Write ``count`` smooth random images of PACS's size as JPEG files and return them."""
    random = np.random.default_rng(0)
    for index in range(count):
        target = folder / SOURCES[index % len(SOURCES)] / "class" / f"{index}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        # A decoder takes longer for fine noise than for a photograph.
        coarse = Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        coarse.resize((PACS_SIDE, PACS_SIDE), Image.Resampling.BICUBIC).save(target, quality=90)
    dataset = load_folder(folder)
    return Images(Subset(dataset, range(len(dataset))), dataset.domains, "generated JPEG files")


class InMemory:
    """The batches of a loader's first epoch, taken from one tensor of all images, uint8 (count, 3, size, size)."""

    def __init__(self, loader: TrainingLoader, preprocessing: Preprocessing) -> None:
        self.plan = loader.plan
        parts = evaluation_batches(loader.plan.subset, preprocessing, loader.plan.settings.batch_size)
        self.images = torch.cat([part.images for part in parts if part.images is not None])

    def __iter__(self) -> Iterator[DomainBatch]:
        for positions, batch in self.plan.batches(epoch=0):
            yield replace(batch, images=self.images[torch.from_numpy(positions)])


@dataclass(frozen=True)
class DecodedInMemory:
    """An opener whose images are decoded and in memory, one array each: the same epoch as from files, without any file."""

    images: Sequence[npt.NDArray[np.uint8]]

    def __call__(self, row: int) -> Image.Image:
        """Return the image of ``row``."""
        return Image.fromarray(self.images[row])

    def decoded(self, row: int, decoding: Decoding) -> npt.NDArray[np.uint8] | None:
        """Return the image of ``row`` for training crops, (H, W, 3)."""
        return self.images[row] if decoding.purpose == "training" else None


def cached(images: Images, preprocessing: Preprocessing, folder: Path) -> Images:
    """Return the same images from the image cache, which is made in ``folder``."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        quiet = ConsoleReporter(quiet=True)
        dataset = with_stored_images(images.subset.dataset, preprocessing, "disk", 0, quiet)
    finally:
        os.environ.pop(CACHE_VARIABLE)
        if before is not None:
            os.environ[CACHE_VARIABLE] = before
    return replace(images, subset=Subset(dataset, images.subset.indices))


def in_memory(images: Images, preprocessing: Preprocessing) -> Images:
    """Return the same images decoded in memory."""
    dataset = images.subset.dataset
    decoded = []
    for row in range(len(dataset)):
        with dataset.open_image(row) as image:
            decoded.append(preprocessing.training_pixels(image))
    return replace(images, subset=Subset(replace(dataset, open_image=DecodedInMemory(decoded)), images.subset.indices))


def _compare(
    workload: Workload, images: Images, folder: Path, budget: Budget, device: torch.device
) -> Iterator[Measurement]:
    preprocessing = default_preprocessing(images.subset.dataset, workload.pixels)

    def loader(of: Images, workers: int) -> TrainingLoader:
        settings = LoaderSettings(workload.batch, workers=workers)
        return TrainingLoader(of.subset, of.sources, preprocessing, settings, "pacs")

    files = {_named(workers): loader(images, workers) for workers in WORKERS}
    kept = cached(images, preprocessing, folder)
    cache = {f"cache, {_named(workers)}": loader(kept, workers) for workers in WORKERS}
    resident = images_on_device(kept.subset.dataset, preprocessing, device, 0, ConsoleReporter(quiet=True))
    if resident is None:
        raise ValueError("expected images in the cache")
    settings = LoaderSettings(workload.batch)
    cache["cache on the device"] = DeviceLoader(resident, kept.subset, kept.sources, settings, "pacs")
    decoded = loader(in_memory(images, preprocessing), 0)
    augment = BatchAugmentation("pacs", preprocessing).to(device)
    learn = MethodStep(workload, build(workload, "dmg", device, images.sources), device, len(decoded))

    def one_pass(batches: Iterable[DomainBatch]) -> Callable[[], None]:
        def run() -> None:
            for index, raw in enumerate(batches):
                batch = raw.to(device)
                if batch.images is None or batch.random is None:
                    raise ValueError("expected training batches with images and random numbers of their own")
                learn(replace(batch, images=augment(batch.images, batch.random)), index)

        return run

    calls = {"memory": one_pass(InMemory(decoded, preprocessing)), "decoded": one_pass(decoded)}
    calls |= {name: one_pass(batches) for name, batches in (files | cache).items()}
    seconds = interleave(calls, budget, device)
    count = len(images.subset)
    speeds = {name: [count / taken for taken in times] for name, times in seconds.items()}

    def against(name: str, what: str, other: str, baseline: str) -> Measurement:
        return Measurement(
            f"images per second of training from {what}",
            f"{baseline} ({workload})",
            [speed / least for speed, least in zip(speeds[name], speeds[other], strict=True)],
            f"{np.median(speeds[name]):.4g} against {np.median(speeds[other]):.4g} images/s",
        )

    for name in files:
        yield against(name, f"files ({images.name}), {name}", "memory", "those from tensors in memory")
    for name in cache:
        what = f"the image {name} ({images.name})"
        yield against(name, what, "memory", "those from tensors in memory")
        yield against(name, what, "decoded", "those from decoded images in memory, cropped alike")


def _named(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
