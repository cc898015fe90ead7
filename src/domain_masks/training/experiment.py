"""What a configuration means for a dataset: its splits, network, method and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from domain_masks.batch import DomainBatch
from domain_masks.data import (
    BatchAugmentation,
    DeviceImages,
    DeviceLoader,
    DomainSplits,
    ImageDataset,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    augmentation_named,
    content_of,
    device_batches,
    evaluation_batches,
    images_on_device,
    source_positions,
    with_stored_images,
)
from domain_masks.data.class_weights import balanced_class_weights
from domain_masks.data.image_cache import Place
from domain_masks.errors import RunFolderError
from domain_masks.methods import Context, Method
from domain_masks.methods.extra_state import check_extra_state
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.prediction import Predicted, predict_batches
from domain_masks.methods.settings import with_settings
from domain_masks.methods.tensor_files import load_tensors
from domain_masks.networks.reproducible_pooling import reproducible_pooling
from domain_masks.progress import Reporter
from domain_masks.records import Predictions
from domain_masks.records.config import RunConfig
from domain_masks.training.backbone_builder import BackboneBuilder, architecture_for, synchronised
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.contents import compare_images, content_keys, division_of
from domain_masks.training.frozen_features import FeatureRecipe, FrozenFeatures
from domain_masks.training.frozen_loader import FrozenLoader, frozen_batches
from domain_masks.training.image_preparation import preprocessing_of
from domain_masks.training.initial_model import InitialModel, image_keys
from domain_masks.training.provenance import Provenance
from domain_masks.training.run_dataset import splits_of
from domain_masks.training.sources import EpochLoader, Sources
from domain_masks.training.state import infinite_buffers
from domain_masks.training.waiting import long_on_each_node

FAST_IMAGES = 64


class Experiment:
    """The splits, network, method and batches of a configuration on a dataset.

    - ``restored``: the checkpoint of a resumed run, which replaces the weights file and the run that it was initialised from
    - ``provenance``: what the run is made from, for its checkpoint
    - ``left_out``: ids of the images that the run does not use
    - ``changes``: a line for each change of evaluation images since the restored run was started

    Raises InputError for settings that cannot be used, RunFolderError where ``restored`` does not fit, or the images of its
    training and validation have changed.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: ImageDataset,
        fabric: Fabric,
        reporter: Reporter,
        restored: CheckpointState | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.reporter = reporter
        self.splits: DomainSplits = splits_of(config, dataset)
        self.preprocessing: Preprocessing = preprocessing_of(config, dataset)
        self._restored = restored
        self.changes: list[str] = []
        self.architecture = architecture_for(config, None if restored is None else restored.provenance)
        self.provenance = Provenance(
            division=division_of(self.splits),
            classes=list(dataset.classes),
            domains=list(dataset.domains),
            trained_on=list(self.splits.sources),
            trained_images=image_keys(self.splits.train.ids),
            learned_sources=list(self.splits.sources),
            network=self.architecture.to_dict(),
            contents=content_keys(dataset),
        )
        if restored is not None:
            self.changes = compare_images(self.splits, restored.provenance)
        self.method = self._build_method()
        self.augmentation = augmentation_named(
            config.augmentation or "none", config.auto_augment, config.random_erasing
        )
        self.augment = BatchAugmentation(self.augmentation, self.preprocessing).to(fabric.device)
        if config.freeze_features or self.method.needs == "features":
            self.method.network.freeze_features()
        self.features = self._freeze() if config.freeze_features else None
        self.device_images: DeviceImages | None = None
        self._note(left_out=list(left_out))

    def _build_method(self) -> Method:
        config = self.config
        classes = len(self.splits.dataset.classes)
        backbones = BackboneBuilder(config, classes, self.architecture)
        context = Context(
            sources=self.splits.sources,
            classes=self.splits.dataset.classes,
            sites=config.sites,
            boundary=config.boundary,
            image_size=self.preprocessing.size,
            head_initialisation=config.head_initialisation or "default",
            preprocessing=self.preprocessing,
            further_backbone=backbones.further,
        )
        with nullcontext() if self._restored is None else backbones.without_weights():
            backbone = backbones.own(self.reporter)
            settings = with_settings(config).method.settings
            method = build_method(config.method_name, backbone, context, settings, config.seed)
        method = method.to(self.fabric.device)
        check_extra_state(method)
        self._note(not_finite=infinite_buffers(method))
        self._start(method)
        if config.class_weights == "balanced":
            # Of the images that are trained on, which are known only now.
            method.weight_classes(balanced_class_weights(self.learned_from().labels, classes))
        if config.label_smoothing:
            method.smooth_labels(config.label_smoothing)
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            synchronised(method)
        if config.deterministic:
            reproducible_pooling(method)
        if config.channels_last:
            method.network.network.to(memory_format=torch.channels_last)
        if config.compile:
            method.network.compile_segments()
        return method

    def _start(self, method: Method) -> None:
        """Load a checkpoint or another run's model, and freeze the parameters that are not trained."""
        config = self.config
        if self._restored is not None:
            before = self._restored.provenance
            # The present contents, unless those at the start of the run are unknown.
            now = {"contents": None if before.contents is None else self.provenance.contents}
            self.provenance = self.provenance.resumed(before).model_copy(update=now)
            try:
                load_tensors(method, self._restored.method)
            except RuntimeError as error:
                raise RunFolderError(
                    f"the checkpoint does not fit its own settings ({str(error).splitlines()[0]}): the run was made by another "
                    "version or changed by hand. Start a new run in another folder (--out)"
                ) from error
        elif config.init_from is not None:
            origin = InitialModel.read(config.init_from)
            new = origin.start(method, self.splits.targets, masks_alone=config.learn == "masks")
            origin.refuse_images(self.splits)
            own = image_keys(self.splits.train.ids)
            self._note(
                trained_on=sorted({*self.splits.sources, *origin.trained_on}),
                trained_images=torch.unique(torch.cat([own, origin.trained_images])),
            )
            if config.learn == "masks" and new:
                self._note(learned_sources=list(new))
        if config.learn == "masks":
            method.learn_masks(self.provenance.learned_sources)

    def _note(self, **values: Any) -> None:
        self.provenance = self.provenance.model_copy(update=values)

    def _freeze(self) -> FrozenFeatures:
        recipe = FeatureRecipe(
            self.method.network,
            self.preprocessing,
            self.config.augmentation or "none",
            self.config.auto_augment,
            self.config.random_erasing,
            self.config.views,
            self.fabric.device,
            self.config.workers or 0,
        )
        return FrozenFeatures(content_of(self.splits.dataset), recipe, self.reporter)

    def prepare(self, batch: DomainBatch) -> DomainBatch:
        """Move a batch to the device; augment its images in training, and normalise them.

        A method that needs features gets those of F in evaluation mode instead of images.
        """
        moved = batch.to(self.fabric.device)
        if moved.images is None:
            return moved
        if moved.random is not None:
            images = self.augment(moved.images, moved.random)
        else:
            images = self.preprocessing.normalize(moved.images)
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.method.needs == "features":
            return replace(moved, images=None, features=self.method.network.frozen_features(images).float())
        return replace(moved, images=images)

    def note_preparation(self, seconds: float) -> None:
        """Add the seconds before the first step to the provenance, which sums them over all parts of the run."""
        self._note(preparation=self.provenance.preparation + seconds)

    def sources(self) -> Sources:
        """Return the data that training and epoch selection may use."""
        validation, names = self.limited(self.splits.validation), self.splits.sources
        share = Subset(validation.dataset, validation.indices[self.fabric.global_rank :: self.fabric.world_size])
        return Sources(
            names,
            self.training_loader(self.loader_settings()),
            lambda: self.batches(share, names),
            self.prepare,
            self.splits.dataset.ids,
        )

    def loader_settings(self, batch_size: int | None = None, workers: int | None = None) -> LoaderSettings:
        """Return how training batches are drawn and read; None stands for the configured value."""
        config = self.config
        return LoaderSettings(
            batch_size or config.batch_size,
            config.sampling,
            config.seed,
            (config.workers or 0) if workers is None else workers,
            self.fabric.global_rank,
            self.fabric.world_size,
            self.method.rows_per_domain,
        )

    def training_loader(self, settings: LoaderSettings) -> EpochLoader:
        """Return the training batches: images, or their features where these are frozen."""
        train = self.learned_from()
        if self.features is None:
            return self.image_loader(settings)
        self._compute_features(train)
        return FrozenLoader(self.features, train, self.splits.sources, settings)

    def image_loader(self, settings: LoaderSettings) -> EpochLoader:
        """Return the training batches of images, also where their features are frozen."""
        augmentation = self.augmentation
        if self.device_images is not None:
            return DeviceLoader(self.device_images, self.learned_from(), self.splits.sources, settings, augmentation)
        return TrainingLoader(self.learned_from(), self.splits.sources, self.preprocessing, settings, augmentation)

    def cache_images(self) -> None:
        """Read images from the cache from now on, as the configuration says; without it, what is not there is made first."""
        config = self.config
        if config.cache == "none":
            return
        if self.features is not None:
            self.reporter.say("cache: features are frozen, and kept instead of images")
            return
        place: Place = "memory" if config.cache == "memory" else "disk"
        workers, reporter = config.workers or 0, self.reporter
        dataset = with_stored_images(self.splits.dataset, self.preprocessing, place, workers, reporter)
        self.splits = splits_of(config, dataset)
        if config.cache == "device":
            device = self.fabric.device
            self.device_images = images_on_device(dataset, self.preprocessing, device, workers, reporter)

    def learned_from(self) -> Subset:
        """Return the training images of the sources that are trained on; the masks of others do not change."""
        train = self.splits.train
        domains = [train.dataset.domains.index(name) for name in self.provenance.learned_sources]
        return Subset(train.dataset, train.indices[np.isin(train.domain_indices, domains)])

    def _compute_features(self, train: Subset) -> None:
        """Compute missing features on the first process of every node while the others wait."""

        def compute() -> None:
            if self.features is not None:
                self.features.of(train, "views")
                self.features.of(self.splits.validation, "evaluation")

        if self.fabric.world_size > 1:
            long_on_each_node(self.fabric, compute)

    def limited(self, subset: Subset) -> Subset:
        """Return the sample of a subset that a smoke run evaluates; otherwise all of it."""
        if not self.config.fast:
            return subset
        step = max(1, len(subset) // FAST_IMAGES)
        return Subset(subset.dataset, subset.indices[::step])

    @property
    def rows_at_once(self) -> int:
        """Batch size of evaluation."""
        return (2 if self.features is None else 4) * self.config.batch_size

    def batches(
        self, subset: Subset, sources: Sequence[str] | None = None, with_labels: bool = True
    ) -> Iterable[DomainBatch]:
        """Return the batches of a subset under evaluation transforms; ``sources`` None where the domain is unknown."""
        if self.features is not None:
            known = None if sources is None else _positions(sources)
            return frozen_batches(self.features, subset, self.rows_at_once, known, with_labels)
        if self.device_images is not None:
            return device_batches(self.device_images, subset, self.rows_at_once, sources, with_labels)
        return evaluation_batches(
            subset, self.preprocessing, self.rows_at_once, self.config.workers or 0, sources, with_labels
        )

    def predictions(self) -> Predictions:
        """Predict the sources' validation and test images and the held-out ones, under every ensemble."""
        parts = []
        for name, chosen in self.measured_subsets():
            batches = self.batches(chosen, with_labels=False)
            tracked = self.reporter.track(batches, -(-len(chosen) // self.rows_at_once), f"predicting {name}")
            with self.fabric.autocast():
                predicted = predict_batches(self.method, tracked, self.prepare)
            parts.append(self.as_predictions(chosen, name, predicted))
        return Predictions.concatenate(parts)

    def measured_subsets(self) -> Iterator[tuple[str, Subset]]:
        """Yield split and images of what is measured: "validation", "test" and "held_out", those that there are."""
        splits = self.splits
        for name, subset in (("validation", splits.validation), ("test", splits.test), ("held_out", splits.held_out)):
            if subset is not None and len(subset):
                yield name, self.limited(subset)

    def as_predictions(self, subset: Subset, split: str, predicted: Predicted) -> Predictions:
        """Return what was predicted for a subset, in its order, with labels and domains."""
        dataset = self.splits.dataset
        return Predictions(
            ids=np.asarray(subset.ids, dtype=np.str_),
            labels=subset.labels,
            domains=subset.domain_indices,
            domain_names=dataset.domains,
            splits=np.full(len(subset), split),
            logits=predicted.logits,
            classes=dataset.classes,
            sources=self.splits.sources,
            domain_probabilities=predicted.domains,
        )


def _positions(sources: Sequence[str]) -> Callable[[Subset], torch.Tensor]:
    def positions(subset: Subset) -> torch.Tensor:
        return torch.from_numpy(source_positions(subset.dataset, sources, subset.domain_indices))

    return positions
