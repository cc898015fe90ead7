"""The speed of training from files, relative to training on the same images as tensors in memory.

Both make the same passes: the same batches, augmentation and steps of DMG, on one network. They are interleaved pass
by pass and not step by step, as workers would read ahead during the other's steps; waiting for the first batch of a pass
counts. Files come from the operating system's cache, as the warm-up has read them once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from domain_masks.batch import DomainBatch
from domain_masks.data import (
    BatchAugmentation,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    default_preprocessing,
    evaluation_batches,
    load_folder,
    load_pacs,
    split_domains,
)
from steps import SOURCES, MethodStep, Workload, build
from timing import Budget, Conditions, Measurement, interleave

WORKLOAD = Workload("mobilenet_v2", 112, 64)
FAST_WORKLOAD = Workload("small", 32, 8)
BATCHES = 8
FAST_BATCHES = 2
WORKERS = (0, 1, 2)
PACS_SIDE = 227


@dataclass(frozen=True)
class Images:
    """Training images of several sources, and their name in the output."""

    subset: Subset
    sources: tuple[str, ...]
    name: str


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield images per second from files with 0, 1 and 2 workers, against tensors in memory."""
    workload = FAST_WORKLOAD if conditions.fast else WORKLOAD
    count = workload.batch * (FAST_BATCHES if conditions.fast else BATCHES)
    with tempfile.TemporaryDirectory() as folder:
        images = pacs(conditions.root, count) if conditions.root else generated(Path(folder), count)
        yield from _compare(workload, images, conditions.budget, conditions.device)


def pacs(root: str, count: int) -> Images:
    """Return ``count`` training images of PACS without sketches, spread evenly over domains and classes."""
    splits = split_domains(load_pacs(root), ("sketch",))
    chosen = np.linspace(0, len(splits.train) - 1, count).round().astype(np.int64)
    return Images(Subset(splits.dataset, splits.train.indices[chosen]), splits.sources, "PACS")


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


def _compare(workload: Workload, images: Images, budget: Budget, device: torch.device) -> Iterator[Measurement]:
    preprocessing = default_preprocessing(images.subset.dataset, workload.pixels)
    loaders = {
        workers: TrainingLoader(
            images.subset, images.sources, preprocessing, LoaderSettings(workload.batch, workers=workers), "pacs"
        )
        for workers in WORKERS
    }
    augment = BatchAugmentation("pacs", preprocessing).to(device)
    learn = MethodStep(workload, build(workload, "dmg", device, images.sources), device, len(loaders[0]))

    def one_pass(batches: Iterable[DomainBatch]) -> Callable[[], None]:
        def run() -> None:
            for index, raw in enumerate(batches):
                batch = raw.to(device)
                if batch.images is None or batch.random is None:
                    raise ValueError("expected training batches with images and random numbers of their own")
                learn(replace(batch, images=augment(batch.images, batch.random)), index)

        return run

    calls = {"memory": one_pass(InMemory(loaders[0], preprocessing))}
    calls |= {_named(workers): one_pass(loader) for workers, loader in loaders.items()}
    seconds = interleave(calls, budget, device)
    count = len(images.subset)
    speeds = {name: [count / taken for taken in times] for name, times in seconds.items()}
    for workers in WORKERS:
        name = _named(workers)
        yield Measurement(
            f"images per second of training from files ({images.name}), {name}",
            f"those from tensors in memory ({workload})",
            [speed / other for speed, other in zip(speeds[name], speeds["memory"], strict=True)],
            f"{np.median(speeds[name]):.4g} against {np.median(speeds['memory']):.4g} images/s",
        )


def _named(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
