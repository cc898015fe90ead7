"""What a run costs, from a few of its steps: seconds per image, and bytes on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.data import ImageDataset, LoaderSettings, TrainingLoader, evaluation_batches
from domain_masks.methods.extra_state import tensors_in
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.experiment import Experiment
from domain_masks.training.launching import launch

STEPS = 3
ENOUGH = 10.0
"""Seconds after which no further step is timed."""


@dataclass(frozen=True)
class Cost:
    """What a run costs, per image where nothing else is said.

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
    """Time a few training steps and evaluation batches of a complete configuration; nothing is written.

    The network is not given its pretrained weights, and frozen features are not kept. ``threads`` is how many of PyTorch's
    a run will have. Raises InputError as a run would.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        began = time.monotonic()
        plain = config.model_copy(update={"weights": "none"})
        experiment = Experiment(plain, dataset, launch(config), reporter)
        return _Timer(experiment).cost(time.monotonic() - began)
    finally:
        torch.set_num_threads(before)


@dataclass
class _Seconds:
    """Seconds per image: until a batch is read, until the features are there, and of what is done with them."""

    reading: float = 0.0
    features: float = 0.0
    working: float = 0.0
    images: int = 0

    def add(self, marks: list[float], images: int) -> None:
        self.reading += marks[1] - marks[0]
        self.features += marks[2] - marks[1]
        self.working += marks[3] - marks[2]
        self.images += images

    def per_image(self, readers: int) -> tuple[float, float]:
        """Return the seconds of an image's features, which others read ahead for, and of what is done with it."""
        count = max(1, self.images)
        return max(self.reading / max(1, readers), self.features) / count, self.working / count


class _Timer:
    """Times batches of an experiment as a run takes them; of frozen features, without keeping them."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.method = experiment.method
        self.engine: TrainingEngine | None = None
        if not self.method.is_closed_form():
            epochs = len(self.method.phases())
            self.engine = TrainingEngine(experiment.fabric, self.method, experiment.config, epochs, 1 + STEPS)
        self.logits = 0
        self.feature = 0

    def cost(self, start: float) -> Cost:
        config = self.experiment.config
        self.method.train(self.engine is not None)
        features, training = self._timed(self._training_batches(), self._learn).per_image(config.workers or 0)
        self.method.eval()
        read, evaluation = self._timed(self._evaluation_batches(), self._predict).per_image(config.workers or 0)
        is_frozen = self.experiment.features is not None
        return Cost(
            start=start,
            training=training if is_frozen else max(features, training),
            evaluation=evaluation if is_frozen else max(read, evaluation),
            features=features if is_frozen else 0.0,
            weights=sum(map(_bytes, tensors_in(self.method.state_dict()).values())),
            optimizer=self._optimizer_bytes(),
            predictions=4 * self.logits,
            feature=self.feature,
            device=str(self.experiment.fabric.device),
        )

    def _optimizer_bytes(self) -> int:
        """Return the size of what the optimisers remember, each of its own kind, after the steps that were timed."""
        states = [] if self.engine is None else [one.state_dict()["state"] for one in self.engine.optimizers.values()]
        values = [value for state in states for kept in state.values() for value in kept.values()]
        return sum(_bytes(value) for value in values if isinstance(value, Tensor))

    def _timed(self, batches: Iterator[DomainBatch], work: Callable[[DomainBatch, int], None]) -> _Seconds:
        """Time ``work`` on a few batches; the first one, which comes with everything that is done once, does not count."""
        seconds, begun = _Seconds(), time.monotonic()
        for index in range(1 + STEPS):
            marks = [self._now()]
            raw = next(batches, None)
            if raw is None:
                break
            marks.append(self._now())
            batch = self._with_features(self.experiment.prepare(raw))
            marks.append(self._now())
            work(batch, index)
            marks.append(self._now())
            if index == 1:
                seconds = _Seconds()
            seconds.add(marks, len(batch))
            if index and marks[-1] - begun > ENOUGH:
                break
        return seconds

    def _now(self) -> float:
        if self.experiment.fabric.device.type == "cuda":
            torch.cuda.synchronize(self.experiment.fabric.device)
        return time.monotonic()

    def _with_features(self, batch: DomainBatch) -> DomainBatch:
        if self.experiment.features is None or batch.images is None:
            return batch
        features = self.method.network.frozen_features(batch.images)
        self.feature = 2 * features[0].numel()
        return replace(batch, images=None, features=features.float())

    def _learn(self, batch: DomainBatch, index: int) -> None:
        if self.engine is None:
            with torch.no_grad(), self.experiment.fabric.autocast():
                self.method.boundary_features(batch)
            return
        self.engine.begin(0, index)
        with self.experiment.fabric.autocast():
            self.method.step(batch, self.engine)

    def _predict(self, batch: DomainBatch, _: int) -> None:
        with torch.inference_mode(), self.experiment.fabric.autocast():
            self.logits = sum(values.shape[-1] for values in self.method.predict(batch).values())

    def _training_batches(self) -> Iterator[DomainBatch]:
        experiment, config = self.experiment, self.experiment.config
        splits = experiment.splits
        settings = LoaderSettings(config.batch_size, config.sampling, config.seed, 0, 0, 1)
        loader = TrainingLoader(splits.train, splits.sources, experiment.preprocessing, settings)
        for epoch in count():
            loader.set_epoch(epoch)
            yield from loader

    def _evaluation_batches(self) -> Iterator[DomainBatch]:
        experiment, size = self.experiment, 2 * self.experiment.config.batch_size
        chosen = experiment.splits.held_out if len(experiment.splits.held_out) else experiment.splits.validation
        yield from evaluation_batches(chosen, experiment.preprocessing, size, 0, with_labels=False)


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
