"""The cost of a run, from one timed training step and one prediction: seconds per image, and bytes on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.cores import cores
from domain_masks.data import ImageDataset
from domain_masks.methods.extra_state import tensors_in
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig
from domain_masks.training.defaults import resolve
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.experiment import Experiment
from domain_masks.training.launching import launch
from domain_masks.training.number_formats import resolve_formats
from domain_masks.training.process_state import fresh_process_state

Result = TypeVar("Result")

MOST_IMAGES = 4
"""Most images of a timed step on a CPU, where time is proportional to the number of images."""
LONG = 2.0
"""Work that took this many seconds or more is not done again. Shorter work is, and the second time counts: the first of a kind
also allocates memory and chooses kernels."""
LONGEST_STEP = 5.0
"""A step that would take fewer seconds is timed with its whole batch, as fixed costs weigh too much in a few images."""


@dataclass(frozen=True)
class Cost:
    """The cost of a run, per image unless stated otherwise.

    - ``start``: seconds until the first step, per run
    - ``training``, ``evaluation``: seconds of one image in one epoch, and in one evaluation
    - ``features``: seconds of one image in one view, where features are frozen; else 0
    - ``weights``, ``optimizer``: bytes of all weights and of the optimiser's state, per run
    - ``predictions``, ``feature``: bytes of an image's logits, and of its features in one view
    - ``device``: where it was timed
    """

    start: float
    training: float
    evaluation: float
    features: float
    weights: int
    optimizer: int
    predictions: int
    feature: int
    device: str


def measure(config: RunConfig, dataset: ImageDataset, reporter: Reporter, threads: int | None = None) -> Cost:
    """Time one training step and one prediction of a complete configuration; nothing is written.

    No pretrained weights are loaded, and frozen features are not saved. ``threads`` is PyTorch's number of threads in a run.
    Raises InputError as a run would.
    """
    with fresh_process_state(reporter):
        torch.set_num_threads(threads or torch.get_num_threads())
        began = time.monotonic()
        plain = resolve_formats(config.model_copy(update={"weights": "none"}))
        if plain.workers is None:
            share = min(resolve(plain, dataset).workers or 0, threads or cores())
            plain = plain.model_copy(update={"workers": share})
        experiment = Experiment(plain, dataset, launch(plain), reporter)
        return _Timer(experiment, time.monotonic() - began).cost()


class _Timer:
    """Times the repeated parts of a run on a batch of its training images; frozen features are computed and not saved."""

    def __init__(self, experiment: Experiment, start: float) -> None:
        self.experiment, self.start = experiment, start
        self.method, self.fabric = experiment.method, experiment.fabric
        self.engine: TrainingEngine | None = None
        if not self.method.is_closed_form():
            # With one step per epoch the optimisers step in it, however many batches are accumulated.
            epochs = len(self.method.phases())
            config = experiment.config.model_copy(update={"freeze_epochs": 0})
            self.engine = TrainingEngine(self.fabric, self.method, config, epochs, 1)

    def cost(self) -> Cost:
        """Return the cost of a run; the method is trained by the timed steps."""
        few, whole = self._few(), self.experiment.config.batch_size
        cost, seconds = self._cost_with(few)
        return self._cost_with(whole)[0] if few < whole and seconds * whole / few < LONGEST_STEP else cost

    def _cost_with(self, size: int) -> tuple[Cost, float]:
        """Return the cost of a run measured by a step of ``size`` images, and the seconds of that step."""
        settings = self.experiment.loader_settings(batch_size=size, workers=0)
        loader = self.experiment.image_loader(settings)
        raw, reading = self._warm_seconds_of(lambda: next(iter(loader)))
        batch, preparing = self._warm_seconds_of(lambda: self.experiment.prepare(raw))
        feature = 0
        if is_frozen := self.experiment.features is not None:
            batch, seconds = self._warm_seconds_of(lambda: self._with_features(batch))
            preparing += seconds
            feature = 0 if batch.features is None else 2 * batch.features[0].numel()
        self.method.train(self.engine is not None)
        _, training = self._warm_seconds_of(lambda: self._learn(batch))
        self.method.eval()
        predicted, evaluation = self._warm_seconds_of(lambda: self._predict(batch))
        readers, rows = self.experiment.config.workers or 0, len(batch)

        def with_images(seconds: float) -> float:
            # Where workers read ahead, the slower of reading and computing decides.
            here = preparing + seconds
            return max(reading / readers, here) if readers else reading + here

        cost = Cost(
            start=self.start,
            training=(training if is_frozen else with_images(training)) / rows,
            evaluation=(evaluation if is_frozen else with_images(evaluation)) / rows,
            features=with_images(0.0) / rows if is_frozen else 0.0,
            weights=sum(map(_bytes, tensors_in(self.method.state_dict()).values())),
            optimizer=_optimizer_bytes(self.engine),
            predictions=4 * sum(logits.shape[-1] for logits in predicted.values()),
            feature=feature,
            device=str(self.fabric.device),
        )
        return cost, training

    def _few(self) -> int:
        """Return the number of images of the first timed step: few on a CPU, where time is proportional to them."""
        size = self.experiment.config.batch_size
        if self.fabric.device.type != "cpu":
            return size
        return min(size, max(MOST_IMAGES, self.method.rows_per_domain * len(self.method.context.sources)))

    def _with_features(self, batch: DomainBatch) -> DomainBatch:
        if batch.images is None:
            raise ValueError("expected images, got a batch without")
        return replace(batch, images=None, features=self.method.network.frozen_features(batch.images).float())

    def _learn(self, batch: DomainBatch) -> object:
        if self.engine is None:
            with torch.no_grad(), self.fabric.autocast():
                return self.method.boundary_features(batch)
        self.engine.begin(0, 0)
        with self.engine.autocast():
            return self.method.step(batch, self.engine)

    def _predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        with torch.inference_mode(), self.fabric.autocast():
            return self.method.predict(batch)

    def _warm_seconds_of(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Return the result of ``work`` and its seconds: those of a second call where the first one was short."""
        result, seconds = self._seconds_of(work)
        return self._seconds_of(work) if seconds < LONG else (result, seconds)

    def _seconds_of(self, work: Callable[[], Result]) -> tuple[Result, float]:
        began = self._now()
        result = work()
        return result, self._now() - began

    def _now(self) -> float:
        if self.fabric.device.type != "cpu":
            torch.accelerator.synchronize(self.fabric.device)
        return time.monotonic()


def _optimizer_bytes(engine: TrainingEngine | None) -> int:
    """Return the size of the optimisers' states after the timed steps, in bytes."""
    states = [] if engine is None else [optimizer.state_dict()["state"] for optimizer in engine.optimizers.values()]
    values = [value for state in states for kept in state.values() for value in kept.values()]
    return sum(_bytes(value) for value in values if isinstance(value, Tensor))


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
