"""One run from a configuration to a finished run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from domain_masks.batch import DomainBatch
from domain_masks.data import (
    BatchAugmentation,
    DomainSplits,
    ImageDataset,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    default_preprocessing,
    evaluation_batches,
    load_dataset,
    source_positions,
    split_domains,
)
from domain_masks.errors import InputError, RunFolderError
from domain_masks.evaluation import accuracies
from domain_masks.masks import mask_statistics
from domain_masks.methods import Context, Method
from domain_masks.methods.build import build_method, method_class, method_settings
from domain_masks.methods.prediction import predict_batches
from domain_masks.methods.saving import save_model
from domain_masks.networks import build_backbone
from domain_masks.randomness import seeded
from domain_masks.records import Predictions, Results, RunFolder, write_json
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.environment import environment
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.defaults import resolve
from domain_masks.training.engine import is_main_process, launch
from domain_masks.training.fit import Progress, Sources, fit
from domain_masks.training.frozen import FeatureRecipe, FrozenFeatures, FrozenLoader, frozen_batches
from domain_masks.training.progress import ConsoleReporter, Reporter

FAST_PICTURES = 64


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and the numbers it ended with."""

    folder: RunFolder
    results: Results

    @property
    def out_of_domain(self) -> float | None:
        """Accuracy on the held-out domains, in [0, 1]; None where none was held out."""
        return None if self.results.out_of_domain is None else self.results.out_of_domain["accuracy"]


class Experiment:
    """What a configuration means for a dataset: splits, network, method, batches."""

    def __init__(self, config: RunConfig, dataset: ImageDataset, fabric: Fabric, reporter: Reporter) -> None:
        self.config = config
        self.fabric = fabric
        self.reporter = reporter
        self.splits: DomainSplits = split_domains(dataset, config.target or (), config.split_seed)
        base = default_preprocessing(dataset, config.size)
        square = base.square if config.square is None else config.square
        size = base.size
        self.preprocessing: Preprocessing = replace(
            base, square=square, resize=size if square else round(size * 256 / 224)
        )
        self.method = self._build_method()
        self.augment = BatchAugmentation(config.augmentation or "none", self.preprocessing).to(fabric.device)
        self.features = self._freeze() if config.freeze_features else None

    def _build_method(self) -> Method:
        config = self.config
        kind = method_class(config.method_name)
        settings = method_settings(config.method_name, config.method_settings)
        if config.freeze_features and kind.needs == "images":
            raise InputError(
                f"method {kind.name!r} trains on images: --freeze_features cannot be used with it, leave it out"
            )
        with seeded(config.seed, "initialisation/backbone"):
            backbone = build_backbone(
                str(config.backbone),
                len(self.splits.dataset.classes),
                str(config.weights),
                config.head_initialisation,
            )
        context = Context(
            sources=self.splits.sources,
            classes=self.splits.dataset.classes,
            sites=config.sites,
            boundary=config.boundary,
            image_size=self.preprocessing.size,
        )
        method = build_method(config.method_name, backbone, context, settings, config.seed).to(self.fabric.device)
        if config.channels_last:
            method.network.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.compile:
            method.network.compile_segments()
        return method

    def _freeze(self) -> FrozenFeatures:
        trained = self.method.network.task_state()
        for name, parameter in self.method.network.network.named_parameters():
            parameter.requires_grad_(name in trained)
        recipe = FeatureRecipe(
            self.method.network,
            self.preprocessing,
            self.config.augmentation or "none",
            self.config.views,
            self.fabric.device,
            self.config.workers or 0,
        )
        return FrozenFeatures(self.splits.dataset.fingerprint, recipe, self.reporter)

    def prepare(self, batch: DomainBatch) -> DomainBatch:
        """Put a batch on the device; augment its pictures in training, normalise them."""
        moved = batch.to(self.fabric.device)
        if moved.images is None:
            return moved
        if moved.random is not None:
            images = self.augment(moved.images, moved.random)
        else:
            images = self.preprocessing.normalize(moved.images)
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return replace(moved, images=images)

    def sources(self) -> Sources:
        """Return what training and selection may see."""
        config = self.config
        settings = LoaderSettings(
            config.batch,
            config.sampling,
            config.seed,
            config.workers or 0,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        names, train = self.splits.sources, self.splits.train
        loader: Any
        if self.features is not None:
            self._compute_features(train)
            loader = FrozenLoader(self.features, train, names, settings)
        else:
            loader = TrainingLoader(train, names, self.preprocessing, settings)
        validation = self._limited(self.splits.validation)
        share = Subset(validation.dataset, validation.indices[self.fabric.global_rank :: self.fabric.world_size])
        return Sources(names, loader, lambda: self.batches(share, names), self.prepare)

    def _compute_features(self, train: Subset) -> None:
        """Let one process compute what is not there yet, while the others wait."""
        if self.features is not None and self.fabric.world_size > 1:
            if self.fabric.is_global_zero:
                self.features.of(train, "views")
                self.features.of(self.splits.validation, "evaluation")
            self.fabric.barrier()

    def _limited(self, subset: Subset) -> Subset:
        if not self.config.fast:
            return subset
        step = max(1, len(subset) // FAST_PICTURES)
        return Subset(subset.dataset, subset.indices[::step])

    def batches(
        self, subset: Subset, sources: Sequence[str] | None = None, with_labels: bool = True
    ) -> Iterable[DomainBatch]:
        """Return the batches of a subset as evaluation sees it; ``sources`` None where the domain is unknown."""
        if self.features is not None:
            known = None if sources is None else _positions(sources)
            return frozen_batches(self.features, subset, 4 * self.config.batch, known, with_labels)
        return evaluation_batches(
            subset, self.preprocessing, 2 * self.config.batch, self.config.workers or 0, sources, with_labels
        )

    def fit_closed_form(self) -> None:
        """Fit a method without gradients from the features of all training pictures."""
        parts = [self.prepare(batch) for batch in self.batches(self.splits.train, self.splits.sources)]
        with torch.no_grad():
            features = torch.cat([self.method.boundary_features(part) for part in parts])
        self.method.fit_closed_form(
            DomainBatch(
                images=None,
                labels=torch.cat([part.labels for part in parts if part.labels is not None]),
                domains=torch.cat([part.domains for part in parts if part.domains is not None]),
                ids=torch.cat([part.ids for part in parts]),
                features=features,
            )
        )

    def predictions(self) -> Predictions:
        """Predict the sources' validation and test pictures and the held-out ones, under every ensemble."""
        splits, dataset = self.splits, self.splits.dataset
        parts = []
        for name, subset in (("validation", splits.validation), ("test", splits.test), ("held_out", splits.held_out)):
            if subset is None or len(subset) == 0:
                continue
            chosen = self._limited(subset)
            batches = self.batches(chosen, with_labels=False)
            size = 4 * self.config.batch if self.features is not None else 2 * self.config.batch
            tracked = self.reporter.track(batches, -(-len(chosen) // size), f"predicting {name}")
            with self.fabric.autocast():
                logits, _ = predict_batches(self.method, tracked, self.prepare)
            parts.append(
                Predictions(
                    ids=np.asarray(chosen.ids, dtype=np.str_),
                    labels=chosen.labels,
                    domains=chosen.domain_indices,
                    domain_names=dataset.domains,
                    splits=np.full(len(chosen), name),
                    logits=logits,
                    classes=dataset.classes,
                    sources=splits.sources,
                )
            )
        return Predictions.concatenate(parts)


def _positions(sources: Sequence[str]) -> Callable[[Subset], torch.Tensor]:
    def positions(subset: Subset) -> torch.Tensor:
        return torch.from_numpy(source_positions(subset.dataset, sources, subset.domain_indices))

    return positions


def run(
    config: RunConfig,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    dataset: ImageDataset | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Train one method with held-out domains and one seed, measure it, and leave a run folder.

    - ``out``: the run folder; see :class:`RunFolder` for what may be there with ``resume`` and ``overwrite``
    - ``dataset``: an opened dataset in place of the configuration's name

    Raises InputError for settings that cannot be used, RunFolderError for a folder that cannot.
    """
    reporter = reporter or ConsoleReporter()
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    complete = resolve(config, opened)
    method_settings(complete.method_name, complete.method_settings)
    folder = RunFolder(out)
    state = folder.prepare(resume, overwrite) if is_main_process() else "new"
    fabric = launch(complete)
    state = fabric.broadcast(state)
    if not fabric.is_global_zero:
        reporter = ConsoleReporter(quiet=True)
    if state == "finished":
        reporter.say(f"{folder.path} holds a finished run: nothing to do")
        return Run(folder, Results.read(folder.results))
    experiment = Experiment(complete, opened, fabric, reporter)
    complete = experiment.config
    if fabric.is_global_zero:
        complete.write(folder.config)
        write_json(folder.environment, environment())
    reporter.say(describe(experiment))
    began = time.monotonic()
    method = experiment.method
    if type(method).fit_closed_form is not Method.fit_closed_form:
        experiment.fit_closed_form()
        progress = Progress()
    else:
        progress = fit(fabric, method, experiment.sources(), complete, folder, reporter)
        method.load_state_dict(load_checkpoint(folder.best)["method"])
    trained = time.monotonic()
    results = None
    if fabric.is_global_zero:
        predictions = experiment.predictions()
        seconds = {
            "training": progress.seconds,
            "evaluation": time.monotonic() - trained,
            "total": time.monotonic() - began,
        }
        results = summarize(experiment, progress, predictions, seconds)
        predictions.save(folder.predictions)
        save_model(folder.path, method, str(complete.backbone), _card(experiment, results))
        results.write(folder.results)
    fabric.barrier()
    return Run(folder, results or Results.read(folder.results))


def evaluate(
    path: Path | str,
    reporter: Reporter | None = None,
    *,
    dataset: ImageDataset | None = None,
    changes: Mapping[str, Any] | None = None,
    config_file: Path | str | None = None,
) -> Run:
    """Compute all predictions and accuracies of a finished or interrupted run again, from its best checkpoint.

    - ``changes``: settings that differ from the run's own, such as where the dataset lies now
    - ``config_file``: a YAML in place of the run's own

    Raises RunFolderError where the folder holds no run with a checkpoint, InputError for settings that cannot be used.
    """
    folder = RunFolder(path)
    reporter = reporter or ConsoleReporter()
    if config_file is None and not folder.config.is_file():
        raise RunFolderError(f"{folder.path} holds no run: expected a folder that `dmg train` has written")
    values = read_config(Path(config_file) if config_file is not None else folder.config)
    config = parse_config({**values, **(changes or {}), "devices": 1})
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    state = load_checkpoint(folder.best)
    last = load_checkpoint(folder.last)
    experiment = Experiment(resolve(config, opened), opened, launch(config), reporter)
    experiment.method.load_state_dict(state["method"])
    began = time.monotonic()
    predictions = experiment.predictions()
    progress = Progress(**last["progress"])
    seconds = {"training": progress.seconds, "evaluation": time.monotonic() - began}
    results = summarize(experiment, progress, predictions, seconds)
    predictions.save(folder.predictions)
    save_model(folder.path, experiment.method, str(config.backbone), _card(experiment, results))
    results.write(folder.results)
    return Run(folder, results)


def summarize(
    experiment: Experiment, progress: Progress, predictions: Predictions, seconds: dict[str, float]
) -> Results:
    """Return the numbers of a run from its predictions and masks."""
    config, splits = experiment.config, experiment.splits
    masks = {site: mask_statistics(logits, splits.sources) for site, logits in experiment.method.mask_logits().items()}
    return Results(
        dataset=splits.dataset.name,
        method=config.method_name,
        backbone=str(config.backbone),
        sources=list(splits.sources),
        targets=list(splits.targets),
        seed=config.seed,
        epochs_run=progress.epochs_done,
        best_epoch=progress.best_epoch if progress.best_epoch >= 0 else None,
        protocol={"selection": config.selection, "target_labels_used": False},
        masks=masks or None,  # type: ignore[arg-type]
        seconds={name: round(value, 3) for name, value in seconds.items()},
        **accuracies(predictions, _held_out_name(splits)),
    )


def _held_out_name(splits: DomainSplits) -> str:
    """Say which pictures of the held-out domains were measured: all of them, or their official test list."""
    held = [splits.dataset.domains.index(name) for name in splits.targets]
    return "all" if len(splits.held_out) == int(np.isin(splits.dataset.domain_indices, held).sum()) else "test"


def describe(experiment: Experiment) -> str:
    """Return in one paragraph what a run will do."""
    config, splits = experiment.config, experiment.splits
    held = ", ".join(splits.targets) or "none"
    sites = ", ".join(site.name for site in experiment.method.network.sites)
    return (
        f"{config.method_name} on {splits.dataset.name}, held out: {held}; sources: {', '.join(splits.sources)}\n"
        f"{len(splits.train)} training, {len(splits.validation)} validation, {len(splits.held_out)} held-out pictures at "
        f"{experiment.preprocessing.size} pixels; {config.backbone} ({config.weights}), task network from "
        f"{experiment.method.network.boundary}{', masks on ' + sites if sites else ''}"
        f"{'; features frozen' if config.freeze_features else ''}; {config.epochs} epochs on {experiment.fabric.device}"
    )


def _card(experiment: Experiment, results: Results) -> dict[str, Any]:
    written = results.to_dict()
    numbers = {name: written[name] for name in ("out_of_domain", "in_domain", "known_domain") if name in written}
    return {
        "dataset": results.dataset,
        "targets": results.targets,
        "preprocessing": experiment.preprocessing.to_dict(),
        "protocol": json.loads(json.dumps(written["protocol"])),
        "accuracies": numbers,
    }
