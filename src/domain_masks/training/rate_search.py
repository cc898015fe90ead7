"""The automatic learning rate, ``--lr auto``: a range test (Smith, WACV 2017), read at half of the fall of the loss.

A copy of the method takes steps at rates that rise exponentially, until the loss diverges. The copy is thrown away and random
numbers are keyed, so that the run itself is the one that names the rate with ``--lr``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, stdev

import numpy as np
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

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 200
FAST_STEPS = 20
_WIDTH = 0.3
"""Standard deviation of the weights that smooth the losses, in decades of the rate: 10 of the 200 steps."""
_STOPPING = 0.9
"""Decay of the moving average that ends the test."""
_DIVERGED = 4.0
"""The test ends where this average is so many times its lowest value."""
_FEWEST = 10
_CLEAR = 2.0
"""The smallest fall of the loss that is a reason for a rate, in standard deviations of the loss of a batch."""
_FALL = 0.01
"""The smallest one as a share of the loss."""


@dataclass(frozen=True)
class RateSearch:
    """A range test: the loss of a batch at each of the rising ``rates``, the ``smoothed`` losses, and the ``rate`` chosen."""

    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
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
    # In the few steps of a smoke run no loss falls clearly.
    rate = chosen_rate(rates, losses, however_small=config.fast)
    search = RateSearch(rates, losses, smoothed(rates, losses), rate)
    reporter.say(f"lr: {search.rate:.2g} (auto, of {len(rates)} steps from {rates[0]:.0e} to {rates[-1]:.2g})")
    return config.model_copy(update={"lr": search.rate}), search


def rising_rates(steps: int) -> list[float]:
    """Return ``steps`` rates from LOWEST to HIGHEST, each a constant multiple of the one before."""
    return [LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1)) for step in range(steps)]


def smoothed(rates: Sequence[float], losses: Sequence[float]) -> list[float]:
    """Return for each rate the mean of the losses around it, with Gaussian weights in the logarithm of the rate.

    It does not lag behind, as a moving average of the past does: by a third of the test, where it is as smooth.
    """
    decades = np.log10(rates)
    weights = np.exp(-0.5 * ((decades[:, None] - decades) / _WIDTH) ** 2)
    means: list[float] = (weights @ np.asarray(losses) / weights.sum(1)).tolist()
    return means


def chosen_rate(rates: Sequence[float], losses: Sequence[float], however_small: bool = False) -> float:
    """Return the rate at which half of the fall of the smoothed loss is behind, to two digits.

    The fall goes from the median of the first quarter of the losses, whose rates are too low to learn, to the lowest smoothed
    loss. Raises InputError where there are too few losses, or the fall is not clear beside the differences between batches.

    - ``however_small``: whether any fall will do
    """
    if len(losses) < _FEWEST:
        raise _refusal(rates, "the loss diverged at once")
    first, means = losses[: len(losses) // 4], smoothed(rates, losses)
    lowest = means.index(min(means))
    start, noise = median(first), stdev(first)
    fall = start - means[lowest]
    if fall < max(_CLEAR * noise, _FALL * abs(start)) and not however_small:
        raise _refusal(
            rates, f"it fell from {start:.4g} by {max(0.0, fall):.2g}, and differs by {noise:.2g} from batch to batch"
        )
    half = max((step for step in range(lowest) if means[step] > start - fall / 2), default=0)
    return float(f"{rates[half]:.2g}")


def _refusal(rates: Sequence[float], why: str) -> InputError:
    return InputError(
        f"lr: 'auto' found no rate that lowers the loss clearly, within {len(rates)} steps up to "
        f"{rates[-1] if rates else 0:.2g}: {why}. Name a number with --lr"
    )


def _range_test(experiment: Experiment, rates: Sequence[float], reporter: Reporter) -> tuple[list[float], list[float]]:
    """Return the rates that were tried, and the loss at each of them."""
    method, fabric, config = experiment.method.train(), experiment.fabric, experiment.config
    engine = TrainingEngine(fabric, method, config.model_copy(update={"accumulate": 1}), 1, len(rates))
    tried: list[float] = []
    losses: list[float] = []
    average, lowest = 0.0, math.inf
    batches = zip(rates, _endless(experiment), strict=False)
    for step, (rate, batch) in enumerate(reporter.track(batches, len(rates), "searching the learning rate")):
        engine.begin(0, step, len(batch) if batch.random is None else batch.random.total)
        _set_rates(engine, rate)
        means = EpochMeans(fabric, {})
        try:
            with engine.autocast(), global_batch_step(fabric, config, batch):
                for name, term in method.step(batch, engine).items():
                    means.add(name, term, len(batch))
            engine.refuse_divergence()
        except DivergedError:
            break
        loss = sum(total.mean for total in means.totals().values())
        average = _STOPPING * average + (1 - _STOPPING) * loss
        mean = average / (1 - _STOPPING ** (step + 1))
        if not math.isfinite(mean) or mean > _DIVERGED * lowest:
            break
        lowest = min(lowest, mean)
        tried.append(rate)
        losses.append(loss)
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
