"""The automatic learning rate, ``--lr auto``: a range test (Smith, WACV 2017), read as fastai's ``lr_find`` does.

A copy of the method takes steps at rates that rise exponentially, until the loss diverges. The copy is thrown away and random
numbers are keyed, so that the run itself is the one that names the rate with ``--lr``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from lightning_fabric import Fabric

from domain_masks.batch import DomainBatch
from domain_masks.data import ImageDataset
from domain_masks.errors import DivergedError, InputError
from domain_masks.progress import Reporter
from domain_masks.records.config import AUTO, RunConfig
from domain_masks.training.agreement import share_weights
from domain_masks.training.batch_size import free_memory
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.epoch_means import EpochMeans
from domain_masks.training.experiment import Experiment
from domain_masks.training.global_batch import global_batch_step
from domain_masks.training.optimizers import base_rate, optimizers_of

LOWEST, HIGHEST = 1e-7, 10.0
STEPS = 100
FAST_STEPS = 20
_SMOOTHING = 0.9
"""Of the moving average, which lags behind by about ten steps; fastai's 0.98 would by half of the test."""
_DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times its lowest value."""
_FEWEST = 10
_FALL = 0.05
"""The smallest fall of the loss, as a share of what it was, that is a reason for a rate."""


@dataclass(frozen=True)
class RateSearch:
    """A range test: the ``losses``, smoothed, at rising ``rates``; and the ``rate`` that was chosen."""

    rates: Sequence[float]
    losses: Sequence[float]
    rate: float


def resolve_learning_rate(
    config: RunConfig, dataset: ImageDataset, fabric: Fabric, reporter: Reporter
) -> tuple[RunConfig, RateSearch | None]:
    """Replace ``lr: auto`` by a number, which is reported, and return the search; any other configuration unchanged.

    Raises InputError where no rate lowers the loss, and for methods whose loss changes from phase to phase.
    """
    if config.lr != AUTO:
        return config, None
    # The whole network is trained here, at the full rate.
    plain = {"lr": 1.0, "freeze_epochs": 0, "warmup_epochs": 0, "schedule": "constant", "schedule_masks": "same"}
    experiment = Experiment(config.model_copy(update=plain), dataset, fabric, reporter)
    if len(phases := experiment.method.phases()) > 1:
        raise InputError(
            f"lr: 'auto' reads one loss, and method {config.method_name!r} is trained in {len(phases)} phases: name a number"
        )
    share_weights(fabric, experiment.method)
    steps = FAST_STEPS if config.fast else STEPS
    rates, losses = _range_test(experiment, rising_rates(steps), reporter)
    del experiment
    free_memory()
    search = RateSearch(rates, losses, chosen_rate(rates, losses))
    reporter.say(f"lr: {search.rate:.2g} (auto, of {len(rates)} steps from {rates[0]:.0e} to {rates[-1]:.2g})")
    return config.model_copy(update={"lr": search.rate}), search


def rising_rates(steps: int) -> list[float]:
    """Return ``steps`` rates from LOWEST to HIGHEST, each a constant multiple of the one before."""
    return [LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1)) for step in range(steps)]


def chosen_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate halfway down the longest valley of the losses, to two digits (fastai's ``valley``).

    The valley is the longest falling subsequence, and the rate stands at the middle of its second third. Raises InputError
    where there are too few losses, or they hardly fall.
    """
    start, end = _longest_fall(losses)
    first = len(losses) // 4
    if len(losses) < _FEWEST or min(losses[first:]) > (1 - _FALL) * median(losses[:first]):
        raise InputError(
            f"lr: 'auto' found no rate that lowers the loss clearly, within {len(losses)} steps up to "
            f"{rates[-1] if rates else 0:.2g}: the network learns too slowly for so short a test. Name a number with --lr"
        )
    third = (end - start) / 3
    return float(f"{rates[start + int(third) + int(third / 2)]:.2g}")


def _longest_fall(losses: Sequence[float]) -> tuple[int, int]:
    """Return the first and the last index of the longest falling subsequence, counted back from its end."""
    lengths = [1] * len(losses)
    end = 0
    for later, loss in enumerate(losses):
        lengths[later] = 1 + max((lengths[i] for i in range(later) if losses[i] > loss), default=0)
        if lengths[later] > lengths[end]:
            end = later
    return max(0, end - (lengths[end] - 1 if losses else 0)), end


def _range_test(experiment: Experiment, rates: Sequence[float], reporter: Reporter) -> tuple[list[float], list[float]]:
    """Return the rates that were tried, and the smoothed loss at each of them."""
    method, fabric, config = experiment.method.train(), experiment.fabric, experiment.config
    engine = TrainingEngine(fabric, method, config.model_copy(update={"accumulate": 1}), 1, len(rates))
    tried: list[float] = []
    losses: list[float] = []
    average = 0.0
    batches = zip(rates, _endless(experiment), strict=False)
    for step, (rate, batch) in enumerate(reporter.track(batches, len(rates), "searching the learning rate")):
        engine.begin(0, step, len(batch) if batch.random is None else batch.random.total)
        _set_rates(engine, rate)
        means = EpochMeans(fabric, {})
        try:
            with fabric.autocast(), global_batch_step(fabric, config, batch):
                for name, term in method.step(batch, engine).items():
                    means.add(name, term, len(batch))
            engine.refuse_divergence()
        except DivergedError:
            break
        loss = sum(total.mean for total in means.totals().values())
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed = average / (1 - _SMOOTHING ** (step + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > _DIVERGED * min(losses)):
            break
        tried.append(rate)
        losses.append(smoothed)
    return tried, losses


def _endless(experiment: Experiment) -> Iterator[DomainBatch]:
    """Yield prepared training batches, epoch after epoch."""
    loader = experiment.training_loader(experiment.loader_settings())
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        for raw in loader:
            yield experiment.prepare(raw)
        epoch += 1


def _set_rates(engine: TrainingEngine, rate: float) -> None:
    """Set the rates that follow ``--lr``; those of ``--lr_head``, ``--lr_masks`` and of a method's own optimisers stay."""
    one, two = (engine.config.model_copy(update={"lr": value}) for value in (1.0, 2.0))
    kinds = optimizers_of(engine.method)
    for name, optimizer in engine.optimizers.items():
        for group in optimizer.param_groups:
            if base_rate(group["name"], kinds[name], one) != base_rate(group["name"], kinds[name], two):
                group["lr"] = rate * group["base_lr"]
