"""The dataset that a model was trained on, located by the config in the model's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domain_masks.data import DomainSplits, Subset, load_dataset, split_domains
from domain_masks.data.label_alignment import aligned
from domain_masks.data.validation_halves import has_own_test
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.model_card import ModelCard
from domain_masks.records.results import OFFICIAL
from domain_masks.records.run_folder import RunFolder


@dataclass(frozen=True)
class RunData:
    """The dataset that a model was trained on, split as in training.

    - ``config``: the run's own, or the defaults where it is missing
    - ``is_own``: whether ``config`` is the run's own; otherwise the validation images are unknown
    """

    splits: DomainSplits
    config: RunConfig
    is_own: bool


def run_data(folder: Path, card: ModelCard, changes: Mapping[str, Any]) -> RunData | None:
    """Open the dataset of the run in ``folder``; None if neither its config nor ``changes`` names one.

    - ``changes``: settings ``dataset`` and ``root`` that differ from the run's own

    Raises InputError if the dataset cannot be opened, or its classes or domains differ from the model's.
    """
    config_file = RunFolder(folder).config
    if not config_file.is_file() and "dataset" not in changes:
        return None
    is_own = config_file.is_file()
    config = parse_config({**(read_config(config_file) if is_own else {}), **changes})
    dataset = load_dataset(config.dataset, config.root)
    domains = [*card.sources, *card.targets]
    others = [name for name in dataset.domains if name not in domains]
    dataset = aligned(dataset, card.classes, [*domains, *others], "the model")
    # Another dataset than the run's may have test images of its own.
    test = OFFICIAL if has_own_test(dataset) else config.in_domain_test
    splits = split_domains(dataset, tuple(card.targets), config.split_seed, 1, test)
    return RunData(splits, config, is_own)


def spread(subset: Subset, most: int | None) -> Subset:
    """Return at most ``most`` images of a subset, evenly spaced; None returns all."""
    if most is None or len(subset) <= most:
        return subset
    chosen = np.linspace(0, len(subset) - 1, most).round().astype(np.int64)
    return Subset(subset.dataset, subset.indices[chosen])
