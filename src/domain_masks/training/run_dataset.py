"""The dataset of a run: images that can be read, with classes and domains in the run's order."""

from __future__ import annotations

from domain_masks.data import ImageDataset, usable
from domain_masks.data.alignment import aligned
from domain_masks.data.verification import Examined
from domain_masks.progress import Reporter
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.records.model_card import ModelCard
from domain_masks.training.initial_model import InitialModel
from domain_masks.training.state import CheckpointState


def readable_images(
    examined: Examined, config: RunConfig, reporter: Reporter, restored: CheckpointState | None
) -> tuple[ImageDataset, list[str]]:
    """Leave out the images that cannot be read, and those that the run left out when it began; returns their names too."""
    dataset = examined.dataset
    gone = set(restored.facts.get("left_out", ())) if restored is not None else set()
    smaller = usable(examined, config, reporter, gone)
    return smaller, sorted({*dataset.ids} - {*smaller.ids}) if len(smaller) < len(dataset) else []


def with_names_of_the_run(
    dataset: ImageDataset, config: RunConfig, folder: RunFolder, restored: CheckpointState | None
) -> ImageDataset:
    """Give classes and domains the positions that they had when the run, or the one that it starts from, was trained.

    Raises InputError that names classes and domains that a run which goes on does not know.
    """
    if restored is None:
        if config.init_from is None:
            return dataset
        there = InitialModel.read(config.init_from).card.classes
        # Where these are others, what to do about it depends on the method.
        same = sorted(there) == sorted(dataset.classes)
        return aligned(dataset, there, dataset.domains, str(config.init_from)) if same else dataset
    known = restored.facts
    if "classes" not in known:
        # Of an older version; before the run has ended nothing says what they were.
        known = {"classes": None, "domains": None}
        if folder.model_card.is_file():
            card = ModelCard.read(folder.model_card)
            known = {"classes": card.classes, "domains": [*card.sources, *card.targets]}
    classes, domains = known["classes"] or dataset.classes, known["domains"] or dataset.domains
    return aligned(dataset, classes, domains, f"the run in {folder.path}")
