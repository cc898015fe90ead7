"""The remaining cost of a plan in time and disk space, from similar finished runs or else a timed step of each method."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rich.filesize import decimal

from domain_masks.data import DomainSplits, ImageDataset, Subset
from domain_masks.errors import DomainMasksError
from domain_masks.experiments.plan import PlannedRun
from domain_masks.methods.method_registry import method_class
from domain_masks.progress import Reporter
from domain_masks.records import MetricsLog, Results
from domain_masks.records.config import RunConfig
from domain_masks.records.counts import duration
from domain_masks.training.experiment import FAST_IMAGES
from domain_masks.training.fit import FAST_BATCHES
from domain_masks.training.reestimation import BATCHES
from domain_masks.training.run_dataset import splits_of
from domain_masks.training.timing import Cost, measure
from domain_masks.training.weight_average import interval_of

_OF_A_STEP = (
    *(
        "augmentation",
        "auto_augment",
        "random_erasing",
        "size",
        "workers",
        "backbone",
        "sites",
        "boundary",
        "freeze_features",
        "learn",
    ),
    *("batch", "optimizer", "average", "average_interval", "fast"),
    *("device", "devices", "threads", "precision", "deterministic", "compile", "channels_last"),
)
"""Settings that change what a run costs per image, besides the method."""
_NOT_OF_AN_IMAGE = ("batch", "average", "average_interval", "fast")
"""Those of them that do not change the cost of a timed step per image; their other costs are added."""
_OF_FEATURES = (
    *("backbone", "weights", "sites", "boundary", "size", "square"),
    *("augmentation", "auto_augment", "random_erasing", "views"),
)


@dataclass
class Estimate:
    """The cost of the pending runs of a plan.

    - ``seconds``: with the given number of runs at once, after frozen features are computed
    - ``run_bytes``, ``feature_bytes``: below the benchmark's folder, and in the cache
    - ``basis``: source of the numbers -> methods and backbones
    - ``unknown``: runs without an estimate, and why
    """

    seconds: float = 0.0
    run_bytes: int = 0
    feature_bytes: int = 0
    basis: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def estimate(
    plan: Sequence[PlannedRun], dataset: ImageDataset, reporter: Reporter, at_once: int = 1, threads: int | None = None
) -> Estimate:
    """Estimate time and disk of the runs that are not done.

    Runs whose steps cost the same are a group. Its cost is that of its finished runs, per training image and epoch; where
    there is none, that of a step timed here with the run's number of ``threads``. A run that was started counts with its
    remaining epochs, and time is divided by ``at_once``.
    """
    total = Estimate()
    seconds: list[float] = []
    prepared: set[str] = {_recipe(run.config) for run in plan if run.state == "done"}
    groups: dict[str, list[PlannedRun]] = {}
    timed: dict[str, Cost] = {}
    for run in plan:
        groups.setdefault(_group(run.config), []).append(run)
    for runs in groups.values():
        left = [_Size(run, dataset) for run in runs if run.state != "done"]
        done = [_Size(run, dataset) for run in runs if run.state == "done"]
        if not left:
            continue
        name = f"{left[0].run.config.method_name} ({left[0].run.config.backbone})"
        try:
            if not done and (step := _group(left[0].run.config, _NOT_OF_AN_IMAGE)) not in timed:
                timed[step] = measure(left[0].run.config, dataset, reporter, threads)
            rates = _Finished(done) if done else _Timed(timed[step])
        except (DomainMasksError, RuntimeError) as error:
            total.unknown.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        total.basis.setdefault(rates.basis, []).append(name)
        seconds += [rates.seconds(size) for size in left]
        total.run_bytes += sum(rates.bytes(size) for size in left)
        if (
            isinstance(rates, _Timed)
            and left[0].run.config.freeze_features
            and _recipe(left[0].run.config) not in prepared
        ):
            prepared.add(_recipe(left[0].run.config))
            views = len(dataset) * (1 + left[0].run.config.views)
            total.seconds += views * rates.cost.features
            total.feature_bytes += views * rates.cost.feature
    if seconds:
        total.seconds += max(sum(seconds) / max(1, at_once), *seconds)
    return total


class _Size:
    """The number of training and evaluation images of a run, and its remaining epochs."""

    def __init__(self, run: PlannedRun, dataset: ImageDataset) -> None:
        self.run = run
        self._dataset = dataset

    @cached_property
    def splits(self) -> DomainSplits:
        return splits_of(self.run.config, self._dataset)

    @property
    def training(self) -> int:
        count = len(self.splits.train)
        return min(count, FAST_BATCHES * self.run.config.batch_size) if self.run.config.fast else count

    @property
    def validation(self) -> int:
        return self._looked_at([self.splits.validation])

    @property
    def measured(self) -> int:
        return self._looked_at([self.splits.validation, self.splits.test, self.splits.held_out])

    def _looked_at(self, subsets: Iterable[Subset | None]) -> int:
        counts = [len(subset) for subset in subsets if subset is not None]
        return sum(
            len(range(0, count, max(1, count // FAST_IMAGES))) if self.run.config.fast else count for count in counts
        )

    @property
    def epochs_left(self) -> int:
        config = self.run.config
        epochs = 1 if config.fast or method_class(config.method_name).is_closed_form() else config.epochs or 1
        try:
            return max(0, epochs - len(MetricsLog(self.run.folder.metrics).read()))
        except DomainMasksError:
            return epochs


class _Finished:
    """Costs from the seconds and files of finished runs."""

    def __init__(self, done: Sequence[_Size]) -> None:
        results = [Results.read(size.run.folder.results) for size in done]
        # A closed-form method has no epochs, and reads every image once.
        learned = [max(1, max(1, run.epochs_run) * size.training) for run, size in zip(results, done, strict=True)]
        self._training = sum(result.seconds.get("training", 0.0) for result in results) / sum(learned)
        evaluation = sum(result.seconds.get("evaluation", 0.0) for result in results)
        self._evaluation = evaluation / max(1, sum(size.measured for size in done))
        self._bytes = sum(_bytes_below(size.run.folder.path) for size in done) // len(done)
        self.basis = f"{len(done)} finished run{'s' if len(done) > 1 else ''}"

    def seconds(self, size: _Size) -> float:
        return size.epochs_left * size.training * self._training + size.measured * self._evaluation

    def bytes(self, size: _Size) -> int:
        return max(0, self._bytes - _bytes_below(size.run.folder.path))


class _Timed:
    """Costs from a timed step."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self.basis = f"a timed step on {cost.device}"

    def seconds(self, size: _Size) -> float:
        cost = self.cost
        epoch = size.training * cost.training + size.validation * cost.evaluation
        looks, config = 0.0, size.run.config
        if config.average != "none":
            # An upper bound, as the timed step changes no weight.
            epoch += min(size.training, BATCHES * config.batch_size) * cost.training
        if config.average == "swad":
            steps = max(1, size.epochs_left * size.training // config.batch_size)
            looks = steps / interval_of(config, steps) * size.validation * cost.evaluation
        return cost.start + size.epochs_left * epoch + looks + size.measured * cost.evaluation

    def bytes(self, size: _Size) -> int:
        # Last checkpoint with the optimiser's state, best checkpoint, model.
        config = size.run.config
        averages = {"none": 0, "swad": config.average_overfit_patience + 2}.get(config.average, 2)
        weights = (3 + averages) * self.cost.weights
        needed = weights + self.cost.optimizer + size.measured * self.cost.predictions
        return max(0, needed - _bytes_below(size.run.folder.path))


def lines(total: Estimate, free_bytes: int | None, at_once: int) -> Iterator[str]:
    """Yield the lines of an estimate; ``free_bytes``: free space on the benchmark's disk."""
    if not total.basis and not total.unknown:
        return
    features = f" and {decimal(total.feature_bytes)} of features in the cache" if total.feature_bytes else ""
    free = f"; {decimal(free_bytes)} are free" if free_bytes is not None else ""
    if total.basis:
        yield f"disk: about {decimal(total.run_bytes)}{features}{free}"
        yield f"time: about {duration(total.seconds)}" + (f" with {at_once} runs at once" if at_once > 1 else "")
    for source, names in total.basis.items():
        yield f"  estimated from {source}: {', '.join(dict.fromkeys(names))}"
    for phrase in total.unknown:
        yield f"  not estimated: {phrase}"


def _group(config: RunConfig, without: Collection[str] = ()) -> str:
    settings = config.model_dump(mode="json", include={*_OF_A_STEP}.difference(without))
    return json.dumps(settings | {"method": config.method_name}, sort_keys=True)


def _recipe(config: RunConfig) -> str:
    settings = config.model_dump(mode="json", include=set(_OF_FEATURES))
    return json.dumps(settings, sort_keys=True) if config.freeze_features else ""


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
