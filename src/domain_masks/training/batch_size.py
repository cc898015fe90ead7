"""The automatic batch size: ``--batch auto``."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from domain_masks.data import ImageDataset
from domain_masks.errors import InputError
from domain_masks.methods.method_registry import method_class
from domain_masks.progress import Reporter
from domain_masks.records.config import AUTO, DEFAULT_BATCH, RunConfig
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.experiment import Experiment
from domain_masks.training.run_dataset import splits_of

LARGEST = 512
SMALLEST = 8


def resolve_batch_size(config: RunConfig, dataset: ImageDataset, fabric: Fabric, reporter: Reporter) -> RunConfig:
    """Replace ``batch: auto`` by a number, which is reported; return any other configuration unchanged.

    On a GPU it is the largest power of two for which a training step fits into memory, at most 512 and at most a quarter of
    the training images; on other devices 64, or less by the same quarter.

    Raises InputError for several GPUs, where an attempt that fails on one of them would leave the others waiting.
    """
    if config.batch != AUTO:
        return config
    is_gpu = fabric.device.type == "cuda"
    if not is_gpu or method_class(config.method_name).is_closed_form():
        size = largest_allowed(_training_images(config, dataset), DEFAULT_BATCH)
        reporter.say(f"batch: {size} (auto, {'for a method without steps' if is_gpu else f'on {fabric.device.type}'})")
    elif fabric.world_size > 1:
        raise InputError("batch: 'auto' is for one GPU: name the number of images per step with --batch N")
    else:
        experiment = Experiment(config, dataset, fabric, reporter)
        attempt = _Attempt(experiment)
        size = largest_fitting(attempt, largest_allowed(_training_images(config, dataset), LARGEST))
        del experiment, attempt
        free_memory()
        reporter.say(f"batch: {size} (auto, on {torch.cuda.get_device_name(fabric.device)})")
    return config.model_copy(update={"batch": size})


def largest_allowed(images: int, most: int) -> int:
    """Return the largest power of two that is at most ``most`` and a quarter of the ``images``; at least 8."""
    size = SMALLEST
    while 2 * size <= min(most, images // 4):
        size *= 2
    return size


def largest_fitting(fits: Callable[[int], bool], limit: int, start: int = DEFAULT_BATCH) -> int:
    """Return the largest power of two up to ``limit`` that fits, from ``start`` on by doubling or halving.

    - ``fits``: whether a step of so many images fits into the memory
    - ``limit``, ``start``: powers of two

    Raises InputError where not even two images fit.
    """
    size = min(start, limit)
    if fits(size):
        while 2 * size <= limit and fits(2 * size):
            size *= 2
        return size
    while size > 2:
        size //= 2
        if fits(size):
            return size
    raise InputError(
        "batch: not even 2 images fit into the device's memory: use a smaller --size or --backbone, --freeze_features, "
        "or --device cpu"
    )


class _Attempt:
    """Tries training steps of a given batch size on a method that is discarded afterwards."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def __call__(self, size: int) -> bool:
        fits = True
        try:
            self._steps(size)
        except torch.OutOfMemoryError:
            fits = False
        # Only here: the exception keeps the allocated tensors alive until it has been handled.
        self.experiment.method.zero_grad(set_to_none=True)
        free_memory()
        return fits

    def _steps(self, size: int) -> None:
        experiment = self.experiment
        raw = next(iter(experiment.training_loader(experiment.loader_settings(batch_size=size, workers=0))))
        method = experiment.method.train()
        # Without accumulation, so that the first step brings the optimiser's state as well, and that of all layers.
        config = experiment.config.model_copy(update={"accumulate": 1, "freeze_epochs": 0})
        engine = TrainingEngine(experiment.fabric, method, config, len(method.phases()), 2)
        for index in range(2):
            batch = experiment.prepare(raw)
            engine.begin(0, index)
            with engine.autocast():
                method.step(batch, engine)


def _training_images(config: RunConfig, dataset: ImageDataset) -> int:
    return len(splits_of(config, dataset).train)


def free_memory() -> None:
    """Give memory of discarded tensors back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
