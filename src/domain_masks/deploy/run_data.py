"""The dataset that a model was trained on, located by the config in the model's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domain_masks.data import DomainSplits, ImageDataset, Subset, load_dataset, split_domains
from domain_masks.data.dataset import without_rows
from domain_masks.data.label_alignment import aligned
from domain_masks.data.validation_halves import has_own_test
from domain_masks.errors import unknown
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.model_card import ModelCard
from domain_masks.records.results import OFFICIAL
from domain_masks.records.run_folder import RunFolder


@dataclass(frozen=True)
class RunData:
    """The dataset that a model was trained on, as it is now: images of the model's domains, in the model's order.

    - ``targets``: the held-out domains
    """

    images: ImageDataset
    config: RunConfig
    targets: tuple[str, ...]

    @property
    def splits(self) -> DomainSplits:
        """The images, divided as ``config`` says.

        Whether the run had the same training and validation images is not checked: only the held-out ones may be measured.
        """
        # Another dataset than the run's may have test images of its own.
        test = OFFICIAL if has_own_test(self.images) else self.config.in_domain_test
        return split_domains(self.images, self.targets, self.config.split_seed, 1, test)


def run_data(folder: Path, card: ModelCard, changes: Mapping[str, Any]) -> RunData | None:
    """Open the dataset of the run in ``folder``; None if neither its config nor ``changes`` names one.

    - ``changes``: settings ``dataset`` and ``root`` that differ from the run's own

    Images of domains that the model does not know are left out. Raises InputError if the dataset cannot be opened, has classes
    that the model does not know, or lacks a held-out domain.
    """
    config_file = RunFolder(folder).config
    if not config_file.is_file() and "dataset" not in changes:
        return None
    config = parse_config({**(read_config(config_file) if config_file.is_file() else {}), **changes})
    dataset = load_dataset(config.dataset, config.root)
    domains = [*card.sources, *card.targets]
    others = [name for name in dataset.domains if name not in domains]
    dataset = aligned(dataset, card.classes, [*domains, *others], "the model")
    for name in card.targets:
        if name not in dataset.domains:
            raise unknown("domain", name, dataset.domains)
    strange = np.isin(dataset.domain_indices, [dataset.domains.index(name) for name in others])
    known = without_rows(dataset, np.flatnonzero(strange).tolist())
    return RunData(aligned(known, card.classes, domains, "the model"), config, tuple(card.targets))


def spread(subset: Subset, most: int | None) -> Subset:
    """Return at most ``most`` images of a subset, evenly spaced; None returns all."""
    if most is None or len(subset) <= most:
        return subset
    chosen = np.linspace(0, len(subset) - 1, most).round().astype(np.int64)
    return Subset(subset.dataset, subset.indices[chosen])
