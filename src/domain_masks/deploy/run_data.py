"""The dataset that a model was trained on, as far as the model's folder says where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domain_masks.data import DomainSplits, Subset, load_dataset, split_domains
from domain_masks.data.label_alignment import aligned
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.model_card import ModelCard
from domain_masks.records.run_folder import RunFolder


@dataclass(frozen=True)
class RunData:
    """The dataset that a model was trained on, divided as it was then.

    ``config`` has nothing but defaults where the run's own is not there; then the validation images are not known.
    """

    splits: DomainSplits
    config: RunConfig
    is_own: bool


def run_data(folder: Path, card: ModelCard, changes: Mapping[str, Any]) -> RunData | None:
    """Open the dataset of the run in ``folder``; None where neither its config nor ``changes`` name one.

    - ``changes``: settings ``dataset`` and ``root`` that differ from the run's own

    Raises InputError where the dataset cannot be opened, or has other classes or domains than the model.
    """
    own = RunFolder(folder).config
    if not own.is_file() and "dataset" not in changes:
        return None
    is_own = own.is_file()
    config = parse_config({**(read_config(own) if is_own else {}), **changes})
    dataset = load_dataset(config.dataset, config.root)
    domains = [*card.sources, *card.targets]
    others = [name for name in dataset.domains if name not in domains]
    dataset = aligned(dataset, card.classes, [*domains, *others], "the model")
    splits = split_domains(dataset, tuple(card.targets), config.split_seed, fewest_sources=1)
    return RunData(splits, config, is_own)


def spread(subset: Subset, most: int | None) -> Subset:
    """Return at most ``most`` images of a subset, spread evenly over it; None for all."""
    if most is None or len(subset) <= most:
        return subset
    chosen = np.linspace(0, len(subset) - 1, most).round().astype(np.int64)
    return Subset(subset.dataset, subset.indices[chosen])
